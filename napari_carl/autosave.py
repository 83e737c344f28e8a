"""Strokes that survive: kept in the user's data folder, and brought back with their cube."""

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
class Stored:
    """Strokes on a cube as they were kept, and when."""

    strokes: LabelMap
    time: datetime


@dataclass(frozen=True, eq=False)
class _State:
    """Strokes that are to be kept."""

    cube: SpectralCube
    strokes: NDArray[np.unsignedinteger]
    classes: tuple[LabelClass, ...]

    def keep(self) -> None:
        keep_strokes(self.cube, self.strokes, self.classes)


class Autosave:
    """Keeps the strokes of a session whenever they change.

    A cube is known by its pixels: it may be moved or renamed, and its wavelengths may be edited.

    Attributes:
        restored: what was brought back for the current cube, or None.
    """

    changed = Signal()  # strokes have been brought back, or the cube is another
    found = Signal(object)  # (H, W) strokes to put on the current cube

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: WeakSet[SpectralCube] = WeakSet()
        self._unsaved: _State | None = None
        self._has_failed = False
        self.restored: Stored | None = None
        session.cube_replaced.connect(self._on_replaced)
        session.cube_changed.connect(self._on_cube)
        session.strokes_changed.connect(self._on_strokes)
        session.classes.changed.connect(self._on_strokes)

    def close(self) -> None:
        """Keep what has not been kept yet; to be called when no task runs any more."""
        if self._unsaved is not None:
            with suppress(CarlError):  # there is nobody left to tell
                self._unsaved.keep()

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
                lambda stored: self._set_found(cube, stored),
            )

    def _set_found(self, cube: SpectralCube, stored: Stored | None) -> None:
        self._known.add(cube)
        if stored is not None:
            self._session.classes.replace(stored.strokes.classes)
            self.restored = stored
            self.found.emit(stored.strokes.labels)
            self.changed.emit()

    def _on_strokes(self) -> None:
        cube, strokes = self._session.cube, self._session.strokes
        if cube is None or strokes is None:
            return
        state = self._unsaved = _State(cube, strokes, tuple(self._session.classes))

        def keep(_: object) -> CarlError | None:
            try:
                state.keep()
            except CarlError as error:
                return error
            return None

        self._session.jobs.start(
            JobKind.AUTOSAVING, keep, lambda failure: self._set_kept(state, failure)
        )

    def _set_kept(self, state: _State, failure: CarlError | None) -> None:
        if failure is None and self._unsaved is state:
            self._unsaved = None
        if failure is not None and not self._has_failed:  # once is enough
            self._has_failed = True
            self._session.failed.emit(failure)


def strokes_file(cube: SpectralCube) -> Path:
    """Where the strokes on a cube are kept; its pixels are its name."""
    from carl.inference import cube_key

    return strokes_folder() / f"{cube_key(SpectralCube(cube.data))}.tif"


def keep_strokes(
    cube: SpectralCube, strokes: NDArray[np.unsignedinteger], classes: Sequence[LabelClass]
) -> None:
    """Write the strokes on a cube; none at all remove what was kept.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = strokes_file(cube)
    if strokes.any():
        write_labels(path, strokes, classes)
    else:
        for kept in (path, path.with_suffix(".json")):
            with suppress(OSError):
                kept.unlink()


def find_strokes(cube: SpectralCube, progress: Progress) -> Stored | None:
    """The strokes that were kept for a cube; None if there are none, or they cannot be read."""
    load_torch(progress)  # comes with the key of a cube
    path = strokes_file(cube)
    try:
        time = datetime.fromtimestamp(path.stat().st_mtime)
        return Stored(read_labels(path, cube.shape), time)
    except (OSError, CarlError):
        return None
