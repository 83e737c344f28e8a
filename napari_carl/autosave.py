"""Save strokes and classes in the user's data folder when they change, and restore them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from psygnal import Signal

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.io import LabelMap
from carl.progress import Progress
from napari_carl.annotation import Annotation, AnnotationState
from napari_carl.jobs import JobKind
from napari_carl.session import Session
from napari_carl.stroke_versions import LatestStrokes, SavedStrokes, StrokeVersions
from napari_carl.torch_loading import load_torch


@dataclass(eq=False)
class _Record:
    """What is saved of one annotation.

    Attributes:
        cube: the annotated cube.
        annotation: its strokes and classes.
        versions: the saved versions; None until they are read.
        saved: the newest state that is saved or needs no saving.
        unsaved: a state to save, or None.
        restored: the strokes that were restored, or None.
    """

    cube: SpectralCube
    annotation: Annotation
    versions: StrokeVersions | None = None
    saved: AnnotationState | None = None
    unsaved: AnnotationState | None = None
    restored: LatestStrokes | None = None

    def save(self, state: AnnotationState) -> None:
        """Save a state; called from a job, or when no job runs any more.

        Raises:
            OutputError: the folder cannot be written.
        """
        versions = self.versions or StrokeVersions(self.cube)
        latest = versions.latest
        if self.versions is None and not self.annotation.is_restored and latest is not None:
            found = latest.strokes
            state = self.annotation.filled_in(found.labels, found.classes, state)
        self.versions = versions
        is_edited = state.has_strokes or state.classes != self.annotation.initial_classes
        # What was erased is saved too: otherwise the version before would be restored.
        if is_edited or not versions.is_empty:
            versions.save(state.strokes, state.classes)


@dataclass
class _Outcome:
    """The states that a job has saved, by record, and the errors."""

    saved: list[tuple[_Record, AnnotationState]] = field(default_factory=list)
    failures: list[CarlError] = field(default_factory=list)


class Autosave:
    """Saves every change of the strokes and classes of a session, and restores them for a new cube.

    Nothing is saved before the versions saved earlier are restored, and no version is deleted
    but by `discard`.
    """

    changed = Signal()  # a version was restored, saved or discarded, or another cube is current
    failed = Signal(object)  # CarlError: strokes were not saved, a version was not read or deleted
    recovered = Signal()  # saving succeeds again

    def __init__(self, session: Session) -> None:
        self._session = session
        self._records: dict[Annotation, _Record] = {}
        self._has_failed = False
        session.cube_changed.connect(self._on_cube)
        session.cubes_changed.connect(self._on_cubes)
        session.history_changed.connect(self._on_edit)

    def close(self) -> None:
        """Save what is not saved yet; call this when no job runs any more."""
        for record in self._records.values():
            if record.unsaved is not None:
                with suppress(CarlError):  # the window is closed: no place to show an error
                    record.save(record.unsaved)
            if record.versions is not None:
                record.versions.close()

    # ---- what is saved of the current cube

    @property
    def _record(self) -> _Record | None:
        return self._records.get(self._session.annotation)

    @property
    def restored(self) -> LatestStrokes | None:
        """The strokes that were restored for the current cube, or None."""
        return None if self._record is None else self._record.restored

    @property
    def versions(self) -> Sequence[SavedStrokes]:
        """The versions of the current cube saved before it was opened, the oldest first."""
        if self._record is None or self._record.versions is None:
            return ()
        return self._record.versions.saved

    @property
    def is_shared(self) -> bool:
        """Whether another window has the current cube open."""
        record = self._record
        return record is not None and record.versions is not None and record.versions.is_shared

    def restore(self, version: SavedStrokes) -> None:
        """Replace the strokes and classes of the current cube by a saved version; can be undone."""
        annotation = self._session.annotation

        def replace(strokes: LabelMap) -> None:
            annotation.replace(strokes.labels, strokes.classes)

        self._session.jobs.start(JobKind.RESTORING, lambda _: version.read(), replace)

    def discard(self) -> None:
        """Erase the strokes on the current cube and delete all saved versions of them."""
        record = self._record
        if record is None or record.versions is None:
            return
        try:
            record.versions.discard()
        except CarlError as error:
            self.failed.emit(error)
        else:
            record.restored = None
            self._session.annotation.clear()
        self.changed.emit()

    # ---- restoring

    def _on_cube(self) -> None:
        cube, annotation = self._session.cube, self._session.annotation
        self.changed.emit()
        if cube is None:
            return
        # An annotation from an earlier dock may have been edited since that was closed.
        is_new = not (annotation.is_restored or annotation.can_undo)
        saved = annotation.state if is_new else None
        record = self._records.setdefault(annotation, _Record(cube, annotation, saved=saved))
        record.cube = cube
        self._on_edit()
        self._restore_next()

    def _restore_next(self) -> None:
        """Search the versions of one cube after the other, those of the current one first."""
        waiting = [record for record in self._records.values() if record.versions is None]
        if not waiting or self._session.jobs.state(JobKind.RESTORING) is not None:
            return
        record = next((each for each in waiting if each is self._record), waiting[0])
        cube = record.cube
        self._session.jobs.start(
            JobKind.RESTORING,
            lambda progress: _find_versions(cube, progress),
            lambda versions: self._set_found(record, versions),
        )

    def _set_found(self, record: _Record, versions: StrokeVersions) -> None:
        annotation, latest = record.annotation, versions.latest
        record.versions = versions
        if latest is not None and not annotation.is_restored:
            annotation.restore(latest.strokes.labels, latest.strokes.classes)
            record.restored = latest if latest.n_pixels else None
        if latest is not None and _is_saved(annotation.state, latest):
            record.saved, record.unsaved = annotation.state, None
        annotation.is_restored = True
        for error in versions.unreadable:
            self.failed.emit(error)
        self.changed.emit()
        self._note_edit(record)
        self._on_cubes()  # the cube may have been removed meanwhile
        self._restore_next()

    # ---- saving

    def _on_edit(self) -> None:
        if self._record is not None:
            self._note_edit(self._record)

    def _note_edit(self, record: _Record) -> None:
        if record.annotation.state is not record.saved:
            record.unsaved = record.annotation.state
            self._save()

    def _save(self) -> None:
        waiting = [
            (record, record.unsaved)
            for record in self._records.values()
            if record.unsaved is not None and record.versions is not None
        ]
        if waiting and self._session.jobs.state(JobKind.AUTOSAVING) is None:
            self._session.jobs.start(
                JobKind.AUTOSAVING, lambda _: _save_records(waiting), self._set_saved
            )

    def _set_saved(self, outcome: _Outcome) -> None:
        for record, state in outcome.saved:
            record.saved = state
            if record.unsaved is state:
                record.unsaved = None
        if outcome.failures and not self._has_failed:  # reported once, not with every stroke
            self.failed.emit(outcome.failures[0])
        elif self._has_failed and not outcome.failures:
            self.recovered.emit()
        self._has_failed = bool(outcome.failures)
        self.changed.emit()
        if not outcome.failures:
            self._save()
        self._on_cubes()

    def _on_cubes(self) -> None:
        """Release the records of cubes that were removed, once their strokes are saved."""
        present = {id(self._session.annotation_of(cube)) for cube in self._session.cubes}
        for annotation, record in tuple(self._records.items()):
            if record.versions is None or record.unsaved is not None:
                continue
            if id(annotation) not in present:
                del self._records[annotation]
                record.versions.close()


def _is_saved(state: AnnotationState, version: LatestStrokes) -> bool:
    saved = version.strokes
    return state.classes == saved.classes and np.array_equal(state.strokes, saved.labels)


def _find_versions(cube: SpectralCube, progress: Progress) -> StrokeVersions:
    load_torch(progress)  # the hash of a cube is in a package that imports it
    return StrokeVersions(cube)


def _save_records(waiting: Sequence[tuple[_Record, AnnotationState]]) -> _Outcome:
    outcome = _Outcome()
    for record, state in waiting:
        try:
            record.save(state)
        except CarlError as error:
            outcome.failures.append(error)
        else:
            outcome.saved.append((record, state))
    return outcome
