"""Where this program keeps what it needs again: weights, computed features, unfinished strokes.

``CARL_HOME`` in the environment names one folder for all of it; otherwise the system says where
the data and the caches of a program belong.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from carl.errors import CarlError
from carl.files import atomic_write

_NAME = "napari-carl"
_MOST_BYTES = 4 * 10**9
_SHARE_OF_DISK = 0.1
_MOST_FILES = 4000
"""More would take long to look through."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_LEFT_BEHIND = 3600
"""Seconds after which a file that is still being written belongs to a program that was killed."""


def weights_folder() -> Path:
    """The folder of downloaded weights; it need not exist yet."""
    return _home("weights") or user_data_path(_NAME, appauthor=False) / "weights"


def strokes_folder() -> Path:
    """The folder of strokes kept for the next time their cube is opened; it need not exist yet."""
    return _home("strokes") or user_data_path(_NAME, appauthor=False) / "strokes"


def features_folder() -> CacheFolder:
    """The folder of computed features; it need not exist yet, and may be emptied at any time.

    ``CARL_CACHE`` in the environment says how much it may hold, as 500MB; 0 for nothing at all.
    By default it is 4 GB, or a tenth of the free space if that is less.

    Raises:
        CarlError: ``CARL_CACHE`` is no size.
    """
    path = _home("features") or user_cache_path(_NAME, appauthor=False) / "features"
    wanted = os.environ.get("CARL_CACHE", "")
    return CacheFolder(path, _bytes(wanted) if wanted.strip() else None)


def measurements_file() -> Path:
    """The file of what was measured on this machine; it need not exist yet, and may be removed."""
    folder = _home("") or user_cache_path(_NAME, appauthor=False)
    return folder / "measured.json"


@dataclass(frozen=True)
class _File:
    path: Path
    n_bytes: int
    last_used: int
    """ns; the time of change, as that of access is not kept everywhere."""


class CacheFolder:
    """Files by key, up to a number of bytes; those not used for the longest time are dropped.

    Programs may share it without a lock: a file gets its name only when it is complete, nobody
    ever changes it, and one that another program drops is just not there any more.

    Args:
        path: of the folder; made, for its owner alone, when something comes into it.
        max_bytes: that it may hold; by default 4 GB, or a tenth of the free space if less.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path = path
        self._max_bytes = max_bytes

    @property
    def max_bytes(self) -> int:
        """Bytes that it may hold."""
        if self._max_bytes is not None:
            return self._max_bytes
        there = next(each for each in (self.path, *self.path.parents) if each.exists())
        free = shutil.disk_usage(there).free + self.nbytes
        return min(_MOST_BYTES, int(_SHARE_OF_DISK * free))

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(each.n_bytes for each in self._files())

    def __len__(self) -> int:
        return len(self._files())

    def find(self, key: str) -> Path | None:
        """The file of a key, from now on the one used last; None if there is none."""
        path = self._file_of(key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:  # it can be read all the same
            pass
        return path if path.is_file() else None

    def add(self, key: str, n_bytes: int, write: Callable[[Path], None]) -> bool:
        """Put in a file, and drop others to make room.

        Args:
            key: letters and digits.
            n_bytes: of the file, about.
            write: writes the file at a path.

        Returns:
            whether there is room for it at all.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        max_bytes = self.max_bytes
        if n_bytes > max_bytes:
            return False
        self._make_room(max_bytes - n_bytes)
        with suppress(OSError):  # that it is not there will be told by the writing
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(self._file_of(key)) as temporary:
            write(temporary)
        self._make_room(max_bytes)  # another program may have put in something, too
        return True

    def drop(self, key: str) -> None:
        """Remove the file of a key, if it is there."""
        _remove(self._file_of(key))

    def clear(self) -> None:
        """Remove everything."""
        self._make_room(0)

    def _file_of(self, key: str) -> Path:
        return self.path / f"{key}.npz"

    def _make_room(self, max_bytes: int) -> None:
        """Drop what was not used for the longest time until the rest is small enough."""
        files = sorted(self._files(), key=lambda each: each.last_used)
        total = sum(each.n_bytes for each in files)
        for left, each in zip(range(len(files), 0, -1), files, strict=True):
            if total <= max_bytes and left <= _MOST_FILES:
                break
            _remove(each.path)
            total -= each.n_bytes

    def _files(self) -> list[_File]:
        """What is in the folder, but for what is just being written."""
        found = []
        long_ago = time.time_ns() - _LEFT_BEHIND * 10**9
        for path in self._names():
            try:
                stat = path.stat()
            except OSError:  # another program was quicker
                continue
            if not path.name.startswith("."):
                found.append(_File(path, stat.st_size, stat.st_mtime_ns))
            elif stat.st_mtime_ns < long_ago:
                _remove(path)
        return found

    def _names(self) -> Iterator[Path]:
        with suppress(FileNotFoundError, NotADirectoryError):
            yield from self.path.glob("*.npz")


def _remove(path: Path) -> None:
    with suppress(OSError):  # removed already, or open in another program on Windows
        path.unlink()


def _home(part: str) -> Path | None:
    home = os.environ.get("CARL_HOME")
    return Path(home).expanduser() / part if home else None


def _bytes(text: str) -> int:
    """A number of bytes from a text such as 500MB."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    if found is None:
        raise CarlError(f"CARL_CACHE is '{text}': give a size such as 4GB, or 0 to keep nothing.")
    return int(float(found[1]) * _UNITS[found[2].lower()])
