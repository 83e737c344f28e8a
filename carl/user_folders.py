"""Folders of this program in the user's account: weights, cameras, cached features, strokes.

The environment variable ``CARL_HOME`` names one folder for all of them; by default the operating
system's folders for the data and the caches of a program are used.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from platformdirs import user_cache_path, user_data_path

from carl.errors import CarlError
from carl.files import STAGING_PREFIX, atomic_write, remove_abandoned

T = TypeVar("T")

_NAME = "napari-carl"
_DEFAULT_MAX_BYTES = 4 * 10**9
"""Default of the largest size of a cache folder, bytes."""
_MAX_FRACTION_OF_DISK = 0.1
"""Fraction of the free disk space that a cache folder takes by default, if that is less."""
_MAX_PLAN_BYTES = 10**8
"""Largest size of all remembered plans in bytes; one takes about 1 MB."""
_MAX_FILES = 4000
"""Files in a cache folder: listing more would take long."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def weights_folder() -> Path:
    """Return the folder of downloaded weights; it need not exist yet."""
    return _home("weights") or user_data_path(_NAME, appauthor=False) / "weights"


def cameras_folder() -> Path:
    """Return the folder of the user's own cameras, one table each; it need not exist."""
    return _home("cameras") or user_data_path(_NAME, appauthor=False) / "cameras"


def strokes_folder() -> Path:
    """Return the folder of strokes saved until their cube is opened again; it need not exist."""
    return _home("strokes") or user_data_path(_NAME, appauthor=False) / "strokes"


def features_folder() -> CacheFolder:
    """Return the folder of cached features, which may be emptied at any time.

    The environment variable ``CARL_CACHE`` sets its largest size, for example 500MB; 0 disables it.
    The default is 4 GB, or a tenth of the free disk space if that is less.

    Raises:
        CarlError: ``CARL_CACHE`` is not a size.
    """
    path = _home("features") or user_cache_path(_NAME, appauthor=False) / "features"
    size = os.environ.get("CARL_CACHE", "")
    return CacheFolder(path, _bytes(size) if size.strip() else None)


def scratch_folder() -> Path:
    """Return the folder of temporary features; it need not exist yet."""
    return features_folder().path.with_name("scratch")


def plans_folder() -> CacheFolder:
    """Return the folder of remembered plans of turbo, which may be emptied at any time.

    Nothing is remembered if ``CARL_CACHE`` is 0.

    Raises:
        CarlError: ``CARL_CACHE`` is not a size.
    """
    features = features_folder()
    return CacheFolder(features.path.with_name("plans"), min(features.max_bytes, _MAX_PLAN_BYTES))


class CacheFolder:
    """A folder of files by key, limited in size: the least recently used are removed.

    Several programs may share it without a lock. A file gets its name when it is complete and is
    never changed; a file that another program removed is simply missing.

    Args:
        path: the folder; created when the first file is added, readable by its owner only.
        max_bytes: largest total size; by default 4 GB, or a tenth of the free space if less.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self.path = path
        self._max_bytes = max_bytes

    @property
    def max_bytes(self) -> int:
        """Largest total size, bytes."""
        if self._max_bytes is not None:
            return self._max_bytes
        existing = next(each for each in (self.path, *self.path.parents) if each.exists())
        free = shutil.disk_usage(existing).free + self.nbytes
        return min(_DEFAULT_MAX_BYTES, int(_MAX_FRACTION_OF_DISK * free))

    @property
    def nbytes(self) -> int:
        """Total size of the files, bytes."""
        return sum(n_bytes for _, n_bytes, _ in self._files())

    def __len__(self) -> int:
        return len(self._files())

    def find(self, key: str) -> Path | None:
        """Return the file of a key and mark it as used now; None if there is none."""
        path = self._path_of(key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:  # the file may be readable although its time cannot be set
            pass
        return path if path.is_file() else None

    def load(self, key: str, read: Callable[[Path], T]) -> T | None:
        """Return what `read` makes of the file of a key; None if it is missing or damaged.

        A damaged file is removed, and so is what killed programs were writing.
        """
        remove_abandoned(self.path, STAGING_PREFIX)
        path = self.find(key)
        if path is None:
            return None
        try:
            return read(path)
        except Exception:  # readers of archives raise almost anything on damaged ones
            self.remove(key)
            return None

    def add(self, key: str, n_bytes: int, write: Callable[[Path], object]) -> bool:
        """Add a file, and remove the least recently used ones to make room for it.

        Args:
            key: letters and digits.
            n_bytes: approximate size of the file.
            write: writes the file to a path, with a checksum that `load` compares.

        Returns:
            False if the file is larger than the folder may be.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        max_bytes = self.max_bytes
        if n_bytes > max_bytes:
            return False
        self._shrink(max_bytes - n_bytes)
        with suppress(OSError):  # atomic_write reports a missing folder
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not written to the disk at once: a file that a loss of power damaged is computed again.
        with atomic_write(self._path_of(key), sync=False) as temporary:
            write(temporary)
        self._shrink(max_bytes)  # another program may have added files meanwhile
        return True

    def remove(self, key: str) -> None:
        """Remove the file of a key, if it exists."""
        _remove(self._path_of(key))

    def clear(self) -> None:
        """Remove all files, and what killed programs were writing."""
        self._shrink(0)
        remove_abandoned(self.path, STAGING_PREFIX)

    def _path_of(self, key: str) -> Path:
        return self.path / f"{key}.npz"

    def _shrink(self, max_bytes: int) -> None:
        """Remove the least recently used files until the rest fits."""
        files = sorted(self._files())
        total = sum(n_bytes for _, n_bytes, _ in files)
        for n_left, (_, n_bytes, path) in zip(range(len(files), 0, -1), files, strict=True):
            if total <= max_bytes and n_left <= _MAX_FILES:
                break
            _remove(path)
            total -= n_bytes

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return time of last use (ns), bytes and path of each file.

        The time is that of modification: not every file system records the access time.
        """
        found = []
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in self.path.glob("*.npz"):
                try:
                    stat = path.stat()
                except OSError:  # removed by another program
                    continue
                found.append((stat.st_mtime_ns, stat.st_size, path))
        return found


def _remove(path: Path) -> None:
    with suppress(OSError):  # already removed, or open in another program on Windows
        path.unlink()


def _home(name: str) -> Path | None:
    home = os.environ.get("CARL_HOME")
    return Path(home).expanduser() / name if home else None


def _bytes(text: str) -> int:
    """Return the number of bytes of a size such as 500MB."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text, re.IGNORECASE)
    if found is None:
        raise CarlError(f"CARL_CACHE is '{text}': give a size such as 4GB, or 0 to cache nothing.")
    return int(float(found[1]) * _UNITS[found[2].lower()])
