"""Save strokes in the user's data folder when they change, and restore them with their cube."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.io import LabelClass, LabelMap, read_labels, write_labels
from carl.progress import Progress
from carl.user_folders import strokes_folder
from napari_carl.jobs import JobKind
from napari_carl.session import Session
from napari_carl.torch_loading import load_torch


@dataclass(frozen=True)
class SavedStrokes:
    """Strokes read from the data folder, and when they were saved."""

    strokes: LabelMap
    time: datetime


@dataclass(frozen=True, eq=False)
class _Unsaved:
    """Strokes that are not saved yet."""

    cube: SpectralCube
    strokes: NDArray[np.unsignedinteger]
    classes: tuple[LabelClass, ...]

    def save(self) -> None:
        save_strokes(self.cube, self.strokes, self.classes)


class Autosave:
    """Saves the strokes of a session whenever they change, and restores them for a new cube.

    Strokes are stored under a hash of the cube's pixels, so they are found again after the file
    was moved or renamed or its wavelengths were edited.

    Attributes:
        restored: strokes restored for the current cube, or None.
    """

    changed = Signal()  # `restored` has changed
    found = Signal(object)  # (H, W) strokes to show on the current cube

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: WeakSet[SpectralCube] = WeakSet()
        self._unsaved: _Unsaved | None = None
        self._has_failed = False
        self.restored: SavedStrokes | None = None
        session.cube_replaced.connect(self._on_replaced)
        session.cube_changed.connect(self._on_cube)
        session.strokes_changed.connect(self._on_strokes)
        session.classes.changed.connect(self._on_strokes)

    def close(self) -> None:
        """Save what is not saved yet; call this when no job runs any more."""
        if self._unsaved is not None:
            with suppress(CarlError):  # the window is closed: there is no place to show an error
                self._unsaved.save()

    def _on_replaced(self, before: SpectralCube, after: SpectralCube) -> None:
        if before in self._known:
            self._known.add(after)

    def _on_cube(self) -> None:
        cube, self.restored = self._session.cube, None
        self.changed.emit()
        if cube is not None and cube not in self._known:
            self._session.jobs.start(
                JobKind.RESTORING,
                lambda progress: find_strokes(cube, progress),
                lambda saved: self._set_found(cube, saved),
            )

    def _set_found(self, cube: SpectralCube, saved: SavedStrokes | None) -> None:
        self._known.add(cube)
        if saved is not None:
            self._session.classes.replace(saved.strokes.classes)
            self.restored = saved
            self.found.emit(saved.strokes.labels)
            self.changed.emit()

    def _on_strokes(self) -> None:
        cube, strokes = self._session.cube, self._session.strokes
        if cube is None or strokes is None:
            return
        unsaved = self._unsaved = _Unsaved(cube, strokes, tuple(self._session.classes))

        def save(_: object) -> CarlError | None:
            try:
                unsaved.save()
            except CarlError as error:
                return error
            return None

        self._session.jobs.start(
            JobKind.AUTOSAVING, save, lambda failure: self._set_saved(unsaved, failure)
        )

    def _set_saved(self, unsaved: _Unsaved, failure: CarlError | None) -> None:
        if failure is None and self._unsaved is unsaved:
            self._unsaved = None
        if failure is not None and not self._has_failed:  # reported once, not with every stroke
            self._has_failed = True
            self._session.failed.emit(failure)


def strokes_file(cube: SpectralCube) -> Path:
    """Return the file for the strokes on a cube, named by a hash of its pixels."""
    from carl.inference import cube_key

    return strokes_folder() / f"{cube_key(SpectralCube(cube.data))}.tif"


def save_strokes(
    cube: SpectralCube, strokes: NDArray[np.unsignedinteger], classes: Sequence[LabelClass]
) -> None:
    """Save the strokes on a cube; empty strokes delete the file.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = strokes_file(cube)
    if strokes.any():
        write_labels(path, strokes, classes)
    else:
        for saved in (path, path.with_suffix(".json")):
            with suppress(OSError):
                saved.unlink()


def find_strokes(cube: SpectralCube, progress: Progress) -> SavedStrokes | None:
    """Return the saved strokes of a cube, or None if there are none or they cannot be read."""
    load_torch(progress)  # `cube_key` is in a package that imports it
    path = strokes_file(cube)
    try:
        time = datetime.fromtimestamp(path.stat().st_mtime)
        return SavedStrokes(read_labels(path, cube.shape), time)
    except (OSError, CarlError):
        return None
