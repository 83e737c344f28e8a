"""What can be done with the selected layer if it is the user's own: strokes, truth or a cube."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from carl.errors import LabelError
from carl.io import LabelClass
from carl.progress import Progress
from carl.spectra.normalise import check_pixels
from napari_carl import foreign_labels
from napari_carl.annotation import Annotation
from napari_carl.foreign_labels import ForeignLabels
from napari_carl.image_stacks import ImageStack, cube_of
from napari_carl.jobs import JobKind
from napari_carl.layer_data import LayerData, cube_layer
from napari_carl.session import Session
from napari_carl.truth import Truth


@dataclass(frozen=True, eq=False)
class PendingStrokes:
    """Labels to be used as strokes whose classes differ from those of the cube.

    Attributes:
        labels: where they are from.
        classes: the classes of all labelled values.
        strokes: (H, W) their pixels.
        annotation: the strokes that they are added to.
    """

    labels: ForeignLabels
    classes: tuple[LabelClass, ...]
    strokes: NDArray[np.uint8]
    annotation: Annotation


class Offers:
    """The selected layer, if it is not one of a cube, and what can be done with it.

    Attributes:
        labels: selected labels; they fit the current cube if `problem` is empty.
        image: selected image that may be a cube.
        pending: labels that wait for a decision about their classes.
        truth: the labels that the map is compared with.
    """

    changed = Signal()
    strokes_added = Signal(object)  # layer whose labels were added
    cube_opened = Signal(object)  # layer whose image was opened as a cube

    def __init__(self, session: Session) -> None:
        self.labels: ForeignLabels | None = None
        self.image: ImageStack | None = None
        self.pending: PendingStrokes | None = None
        self.truth = Truth(session)
        self._session = session
        self._image_layer: Any = None
        session.cube_changed.connect(self._on_cube)
        self.truth.changed.connect(self.changed.emit)

    @property
    def problem(self) -> str:
        """Why the selected labels do not fit the current cube, in a sentence; empty if they do."""
        cube = self._session.cube
        if self.labels is None or cube is None:
            return ""
        return self.labels.problem(cube.shape[:2])

    @property
    def fitting_labels(self) -> ForeignLabels | None:
        """The selected labels if they fit the current cube; otherwise None."""
        return None if self._session.cube is None or self.problem else self.labels

    def select_nothing(self) -> None:
        """Offer nothing: no layer, several, or one of a cube is selected."""
        self._select(None, None, None)

    def select_labels(self, labels: ForeignLabels) -> None:
        """Offer what can be done with labels."""
        self._select(labels, None, None)

    def select_image(self, image: ImageStack, layer: Any) -> None:
        """Offer to open an image in a layer as a cube."""
        self._select(None, image, layer)

    def _select(self, labels: ForeignLabels | None, image: ImageStack | None, layer: Any) -> None:
        self.labels, self.image, self._image_layer = labels, image, layer
        if self.pending is not None and (
            labels is None or labels.layer != self.pending.labels.layer
        ):
            self.pending = None
        self.changed.emit()

    def _on_cube(self) -> None:
        self._session.jobs.cancel(JobKind.READING_LABELS)
        self.pending = None
        self.changed.emit()

    # ---- strokes

    def use_as_strokes(self) -> None:
        """Add the selected labels to the strokes where nothing is labelled; can be undone.

        If their classes differ from those of the cube, they become `pending`: call `add_pending`.
        """
        labels, annotation = self.fitting_labels, self._session.annotation
        if labels is not None:
            self._session.jobs.start(
                JobKind.READING_LABELS,
                lambda _: _pending_strokes(labels, annotation),
                self._set_read,
            )

    def _set_read(self, read: PendingStrokes) -> None:
        self.pending = read
        if foreign_labels.disagree(read.annotation.classes, read.classes):
            self.changed.emit()
        else:
            self.add_pending(by_name=False)

    def add_pending(self, *, by_name: bool) -> None:
        """Add the labels that wait for a decision to the strokes.

        Args:
            by_name: labels take the value of the class of the same name; other classes of theirs
                get free values. Otherwise their names replace those of the cube.
        """
        pending, self.pending = self.pending, None
        if pending is None:
            return
        annotation, strokes = pending.annotation, pending.strokes
        own = tuple(annotation.classes)
        try:
            if by_name:
                strokes, classes = foreign_labels.matched_by_name(strokes, own, pending.classes)
            else:
                classes = foreign_labels.joined(own, pending.classes)
            annotation.add_strokes(strokes, classes)
        except LabelError as error:
            self._session.failed.emit(error)
        else:
            self.strokes_added.emit(pending.labels.layer)
        self.changed.emit()

    def drop_pending(self) -> None:
        """Drop the labels that wait for a decision."""
        self.pending = None
        self.changed.emit()

    # ---- truth and cubes

    def use_as_truth(self) -> None:
        """Compare the map with the selected labels."""
        if self.fitting_labels is not None:
            self.truth.use(self.fitting_labels)

    def use_as_cube(self) -> None:
        """Open the selected image as a cube, in the background."""
        image, layer = self.image, self._image_layer
        if image is not None:
            self._session.jobs.start(
                JobKind.OPENING,
                lambda progress: _open_image(image, progress),
                lambda opened: self._set_opened(opened, layer),
            )

    def _set_opened(self, opened: LayerData, layer: Any) -> None:
        self._session.opened.emit(opened)
        self.cube_opened.emit(layer)


def _pending_strokes(labels: ForeignLabels, annotation: Annotation) -> PendingStrokes:
    strokes = labels.read_strokes()
    values = [int(value) for value in np.flatnonzero(np.bincount(strokes.ravel())) if value]
    classes = foreign_labels.classes_of(values, labels.classes)
    return PendingStrokes(labels, classes, strokes, annotation)


def _open_image(image: ImageStack, progress: Progress) -> LayerData:
    progress(0.0, f"Opening {image.name}")
    cube = cube_of(image)
    check_pixels(cube)
    return cube_layer(cube)
