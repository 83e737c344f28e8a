"""What tells one cube from another, whether a file is still what it was, and the code too."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.mapped_files import read_mapped
from carl.version import __version__

_MAKING_FEATURES = ("inference", "model", "spectra")
"""Packages whose code decides what features are."""
_SAMPLED_ROWS = 16


def cube_key(cube: SpectralCube) -> str:
    """A key that differs where the pixels or the wavelengths of cubes differ.

    For a cube from files their sizes and times of change stand for what is in them. A few rows of
    pixels are part of the key in any case: they tell apart a cube from a corrected or cropped copy
    of it, and cubes that come from no file.
    """
    digest = hashlib.blake2b(digest_size=16)
    stamps = tuple(stamp for _, *stamp in file_stamps(cube))
    facts = (cube.shape, np.dtype(cube.data.dtype).str, cube.nodata, cube.metadata.get("variable"))
    digest.update(repr((facts, stamps)).encode())
    for values in (cube.wavelengths, cube.good_bands, cube.scale, cube.offset):
        digest.update(repr(None if values is None else np.asarray(values).tolist()).encode())
    height = cube.shape[0]
    for row in np.unique(np.linspace(0, height - 1, _SAMPLED_ROWS).astype(int)):
        values = read_mapped(np.asarray(cube.data[row : row + 1, :, :]))
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def file_stamps(cube: SpectralCube) -> tuple[tuple[str, int, int], ...]:
    """Path, size in bytes and time of change in ns of the files a cube is read from.

    ENVI has two. A file that was moved since it was opened has size and time 0.
    """
    named = (cube.metadata.get(name) for name in ("path", "header", "data_file"))
    paths = dict.fromkeys(str(path) for path in named if path is not None)
    return tuple((path, *_size_and_time(path)) for path in paths)


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        found = Path(path).stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@cache
def code_key() -> str:
    """Of the code that computes features: when it changes, so may they, whatever the version."""
    package = Path(__file__).parents[1]
    digest = hashlib.blake2b(__version__.encode(), digest_size=20)
    for path in sorted(
        each for name in _MAKING_FEATURES for each in (package / name).rglob("*.py")
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class FileGuard:
    """Notices when the files of a cube change while it is being read.

    Args:
        cube: as it is now.
    """

    def __init__(self, cube: SpectralCube) -> None:
        self._cube = cube
        self._stamps = file_stamps(cube)

    @property
    def changed(self) -> bool:
        """Whether they have."""
        return file_stamps(self._cube) != self._stamps

    def check(self) -> None:
        """Look at the files; takes microseconds.

        Raises:
            CubeError: they are not what they were.
        """
        if self.changed:
            raise CubeError(
                f"{self._cube.name} changed on disk while it was being read, so nothing computed "
                "from it was kept: start again once the file is complete."
            )
