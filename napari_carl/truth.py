"""Score of the map of the current cube against labels that are known to be true."""

from __future__ import annotations

from typing import Any

from psygnal import Signal

from carl.errors import LabelError
from napari_carl.annotation import Annotation
from napari_carl.foreign_labels import ForeignLabels, MapScore, score_map
from napari_carl.jobs import JobKind
from napari_carl.session import Session


class Truth:
    """The labels that the map of the current cube is compared with, and the newest score.

    Every complete map is scored in the background. There is no score of a map that is coarse,
    incomplete or out of date.

    Attributes:
        score: of the map as it is now; a `LabelError` if it cannot be computed; None if there is
            none yet.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        self.score: MapScore | LabelError | None = None
        self._session = session
        self._labels: ForeignLabels | None = None
        self._annotation: Annotation | None = None
        self._scored: tuple[Any, ...] | None = None
        for signal in (
            session.cube_changed,
            session.strokes_changed,
            session.model_changed,
            session.classes_changed,
            session.segmentation_changed,
        ):
            signal.connect(self._update)
        session.jobs.changed.connect(self._on_job)

    @property
    def labels(self) -> ForeignLabels | None:
        """The true labels of the current cube, or None."""
        return self._labels if self._annotation is self._session.annotation else None

    @property
    def layer(self) -> Any:
        """The layer of the true labels, also of those of another cube; None if there are none."""
        return None if self._labels is None else self._labels.layer

    def use(self, labels: ForeignLabels) -> None:
        """Compare the map of the current cube with these labels, in place of others."""
        self._labels, self._annotation = labels, self._session.annotation
        self._update()
        self.changed.emit()

    def edit(self, labels: ForeignLabels) -> None:
        """Take the labels as they are after an edit of their layer; remove those that do not fit.

        Without effect if another layer has the true labels.
        """
        if self._labels is None or self._labels.layer != labels.layer or self._annotation is None:
            return
        if labels.problem(self._annotation.pixels.shape):
            self.remove()
        else:
            self._labels = labels
            self._update()
            self.changed.emit()

    def remove(self) -> None:
        """Compare the map with nothing."""
        self._labels = self._annotation = None
        self._update()
        self.changed.emit()

    def _on_job(self, kind: JobKind) -> None:
        if kind == JobKind.SEGMENTING:
            self._update()

    def _update(self) -> None:
        """Score the map if it is complete and not scored yet; drop the score of any other map."""
        session, labels, result = self._session, self.labels, self._session.segmentation
        is_complete = (
            result is not None
            and result.complete.is_set()
            and not result.is_preview
            and session.segmentation_is_current
        )
        if labels is None or result is None or not is_complete:
            wanted = None
        else:
            wanted = (labels, result, tuple(session.classes))
        if wanted == self._scored:
            return
        self._scored = wanted
        is_shown, self.score = self.score is not None, None
        session.jobs.cancel(JobKind.SCORING)
        if is_shown:
            self.changed.emit()
        if labels is not None and result is not None and wanted is not None:
            strokes, classes, predicted = session.strokes, wanted[2], result.labels
            session.jobs.start(
                JobKind.SCORING,
                lambda _: _score_or_error(predicted, classes, strokes, labels),
                self._set_score,
            )

    def _set_score(self, score: MapScore | LabelError) -> None:
        self.score = score
        self.changed.emit()


def _score_or_error(*arguments: Any) -> MapScore | LabelError:
    """Score a map in a job: an error is shown in place of the score, not as a failed job."""
    try:
        return score_map(*arguments)
    except LabelError as error:
        return error
