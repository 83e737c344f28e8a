"""Saved versions of the strokes on a cube: no version is overwritten or deleted by another one.

Every window writes a file of its own for each cube, and each file lists the versions it continues.
The versions that no other one continues are the newest: there are several if windows were open at
the same time, and they are merged when the cube is opened again.

A version is a TIFF file with one page of (height, width) strokes, whose image description is JSON:
the classes, the versions it continues, and a SHA-256 checksum of all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CarlError, LabelError, OutputError
from carl.files import atomic_write
from carl.io import LabelClass, LabelMap, read_labels
from carl.io.labels import class_from_json, class_to_json
from carl.io.reader import decoding_errors
from carl.io.tiff import open_tiff, read_image
from carl.user_folders import strokes_folder

_FORMAT = "CARL strokes"
_VERSION = 1
_MAX_HEADER = 1 << 20
"""Most characters of a header: that of 255 classes is shorter."""


@dataclass(frozen=True, eq=False)
class SavedStrokes:
    """A saved version of the strokes on a cube; its pixels are read when they are needed.

    Attributes:
        path: its file.
        time: when it was saved.
        n_pixels: number of labelled pixels.
        classes: names and colours.
        continued: names of the versions it continues.
        is_single: whether it is the only file of a cube, a label map, as written by version 0.1.
    """

    path: Path
    time: datetime
    n_pixels: int
    classes: tuple[LabelClass, ...]
    continued: tuple[str, ...] = ()
    is_single: bool = False

    def read(self) -> LabelMap:
        """Read the strokes.

        Raises:
            LabelError: the file is damaged or gone.
        """
        if not self.path.is_file():
            raise LabelError(f"{self.path} is gone: choose another version of the strokes.")
        return read_labels(self.path) if self.is_single else _read_version(self.path)[1]


@dataclass(frozen=True, eq=False)
class LatestStrokes:
    """The newest strokes on a cube, merged if windows that were open at once saved several.

    Attributes:
        strokes: (H, W) strokes and their classes.
        time: when the last of them was saved.
        n_windows: number of versions they were merged from.
    """

    strokes: LabelMap
    time: datetime
    n_windows: int = 1

    @property
    def n_pixels(self) -> int:
        """Number of labelled pixels."""
        return int(np.count_nonzero(self.strokes.labels))


class StrokeVersions:
    """The saved versions of the strokes on one cube, and the one that this window writes.

    Args:
        cube: strokes are stored under a hash of its pixels, so they are found again after its file
            was moved or renamed, or its wavelengths were edited.

    Attributes:
        is_shared: whether another window has the cube open.
        saved: the versions saved earlier, the oldest first.
        unreadable: errors of the files that cannot be read; these files stay.
        latest: the newest strokes saved earlier, or None.
    """

    def __init__(self, cube: SpectralCube) -> None:
        from carl.inference import cube_key

        key = cube_key(SpectralCube(cube.data))
        self._folder = strokes_folder() / key
        self._single_file = strokes_folder() / f"{key}.tif"  # as written by version 0.1
        self._shape = cube.shape
        self._path = self._folder / f"{datetime.now():%Y-%m-%d %H.%M.%S} {uuid4().hex[:8]}.tif"
        self._lock = FileLock(self._folder / ".lock", timeout=0, thread_local=False)
        self._known: set[Path] = set()
        self.is_shared = not self._try_lock()
        self.saved: tuple[SavedStrokes, ...] = ()
        self.unreadable: tuple[CarlError, ...] = ()
        self.latest: LatestStrokes | None = None
        self._read()

    def _try_lock(self) -> bool:
        """Lock the folder until `close`; return whether no other window has it open."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            return False
        except OSError:
            return True  # a folder that cannot be written is reported when strokes are saved
        return True

    def close(self) -> None:
        """Let other windows open the cube alone; a folder without versions is removed."""
        if self._lock.is_locked:
            self._lock.release()
            with suppress(OSError):
                if self.is_empty:
                    (self._folder / ".lock").unlink(missing_ok=True)
                    self._folder.rmdir()

    @property
    def is_empty(self) -> bool:
        """Whether no version is on disk."""
        return not self._files()

    def _files(self) -> list[Path]:
        single = [self._single_file] if self._single_file.is_file() else []
        return single + [path for path in self._folder.glob("*.tif") if path.name[0] != "."]

    def _read(self) -> None:
        saved = []
        self._known = set(self._files())
        for path in self._known:
            try:
                saved.append(
                    self._read_single() if path == self._single_file else read_version(path)
                )
            except CarlError as error:
                self.unreadable = (*self.unreadable, error)
        self.saved = tuple(sorted(saved, key=lambda each: (each.time, each.path)))
        self.latest = self._merge()

    def _read_single(self) -> SavedStrokes:
        strokes = read_labels(self._single_file, self._shape)
        time = datetime.fromtimestamp(self._single_file.stat().st_mtime)
        n_pixels = int(np.count_nonzero(strokes.labels))
        return SavedStrokes(self._single_file, time, n_pixels, strokes.classes, is_single=True)

    def _merge(self) -> LatestStrokes | None:
        """Merge the versions that no other one continues; damaged ones are left out."""
        while self.saved:
            continued = {name for each in self.saved for name in each.continued}
            newest = [each for each in self.saved if each.path.name not in continued]
            intact = []
            for version in newest:
                try:
                    intact.append((version, self._read_strokes(version)))
                except CarlError as error:
                    self.unreadable = (*self.unreadable, error)
                    self.saved = tuple(each for each in self.saved if each is not version)
            if len(intact) == len(newest):
                return _merged(intact)
        return None

    def _read_strokes(self, version: SavedStrokes) -> LabelMap:
        strokes = version.read()
        if strokes.labels.shape != tuple(self._shape[:2]):
            raise LabelError(f"{version.path} holds strokes of another size: they stay there.")
        return strokes

    def save(self, strokes: NDArray[np.uint8], classes: Sequence[LabelClass]) -> None:
        """Save the strokes and classes as the version of this window.

        Raises:
            OutputError: the folder cannot be written.
        """
        write_version(self._path, strokes, classes, [path.name for path in self._known])
        if set(self._files()) - self._known - {self._path}:
            self.is_shared = True

    def discard(self) -> None:
        """Delete all versions.

        Raises:
            OutputError: a file cannot be deleted.
        """
        try:
            for path in self._files():
                path.unlink(missing_ok=True)
            self._single_file.with_suffix(".json").unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{error.filename} cannot be deleted ({error.strerror}): delete it by hand."
            ) from error
        self._read()


def _merged(versions: Sequence[tuple[SavedStrokes, LabelMap]]) -> LatestStrokes:
    """Merge versions, sorted by time: where they differ, the last one decides."""
    labels = versions[-1][1].labels
    classes: dict[int, LabelClass] = {}
    for _, strokes in versions:
        classes |= {each.value: each for each in strokes.classes}
    for _, strokes in reversed(versions[:-1]):
        labels = np.where(labels == 0, strokes.labels, labels)
    table = tuple(classes[value] for value in sorted(classes))
    return LatestStrokes(LabelMap(labels, table), versions[-1][0].time, len(versions))


def write_version(
    path: Path,
    strokes: NDArray[np.uint8],
    classes: Sequence[LabelClass],
    continued: Iterable[str] = (),
) -> None:
    """Write a version of strokes.

    Args:
        path: of the file, ending in .tif.
        strokes: (H, W), 0 = unlabelled.
        classes: names and colours.
        continued: names of the versions it continues.

    Raises:
        OutputError: the file cannot be written.
    """
    import tifffile

    header: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "time": datetime.now().isoformat(),
        "continued": sorted(continued),
        "pixels": int(np.count_nonzero(strokes)),
        "classes": [class_to_json(each) for each in classes],
    }
    header["sha256"] = _checksum(strokes, header)
    with atomic_write(path) as temporary:
        tifffile.imwrite(
            temporary,
            strokes,
            photometric="minisblack",
            compression="zlib",
            description=json.dumps(header),
            metadata=None,
        )


def read_version(path: Path) -> SavedStrokes:
    """Read all of a version but its pixels.

    Raises:
        LabelError: the file is damaged, of another kind, or of a newer version of CARL.
    """
    return _read_version(path, with_strokes=False)[0]


def _read_version(path: Path, *, with_strokes: bool = True) -> tuple[SavedStrokes, LabelMap]:
    """Read a version, and compare its checksum if its strokes are wanted.

    Raises:
        LabelError: the file is damaged, of another kind, or of a newer version of CARL.
    """
    with decoding_errors(path, "a file of saved strokes", LabelError):
        with open_tiff(path) as file:
            page = file.pages.first
            header = json.loads(page.description[:_MAX_HEADER])
            if header["format"] != _FORMAT or page.dtype != np.uint8 or len(page.shape) != 2:
                raise ValueError("it has another format")
            if header["version"] > _VERSION:
                raise LabelError(f"{path} was saved by a newer version of CARL: update CARL.")
        strokes = read_image(path) if with_strokes else np.zeros((0, 0), np.uint8)
        if with_strokes and header.pop("sha256") != _checksum(strokes, header):
            raise ValueError("the checksum is another one")
        classes = tuple(map(class_from_json, header["classes"]))
        time = datetime.fromisoformat(header["time"])
        continued = tuple(map(str, header["continued"]))
        version = SavedStrokes(path, time, int(header["pixels"]), classes, continued)
        return version, LabelMap(strokes, classes)


def _checksum(strokes: NDArray[np.uint8], header: dict[str, Any]) -> str:
    """Return the SHA-256 of strokes and of a header without its checksum."""
    text = json.dumps(header, sort_keys=True)
    return sha256(text.encode() + np.ascontiguousarray(strokes).tobytes()).hexdigest()
