"""Keys of cached results: hashes of cubes and code; guard against files that change."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress
from carl.version import __version__

_PACKAGES = ("inference", "model", "spectra")
"""Packages whose code determines the features."""
_SAMPLED_ROWS = 16
"""Rows of pixels that are part of `cube_key`."""
_BLOCK_BYTES = 16 << 20
"""Bytes that `content_key` reads at a time, in well under a second also from a slow disk."""


def cube_key(cube: SpectralCube) -> str:
    """Compute a hash of a cube within milliseconds, without reading all of it.

    It covers shape, wavelengths, calibration, sizes and modification times of the files, and a few
    rows of pixels. These distinguish a cube from a corrected or cropped copy of it, and cubes
    without a file from each other.
    """
    digest = hashlib.blake2b(digest_size=16)
    stamps = tuple(stamp for _, *stamp in file_stamps(cube))
    variable = cube.metadata.get("variable")
    header = (cube.shape, np.dtype(cube.data.dtype).str, cube.nodata, variable)
    digest.update(repr((header, stamps)).encode())
    digest.update(_calibration(cube))
    height = cube.shape[0]
    for row in np.unique(np.linspace(0, height - 1, _SAMPLED_ROWS).astype(int)):
        values = np.asarray(cube.data[row : row + 1, :, :])
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def content_key(cube: SpectralCube, progress: Progress = no_progress) -> str:
    """Compute a hash of everything that the features of a cube depend on, its pixels included.

    Names and modification times are not part of it. A processor core reads about 1 GB/s, a hundred
    times what it can embed.

    Args:
        cube: to hash.
        progress: called many times a second; cancels by raising.

    Raises:
        CubeError: the cube cannot be read.
        Cancelled: by `progress`.
    """
    height, width, bands = cube.shape
    dtype = np.dtype(cube.data.dtype)
    digest = hashlib.blake2b(digest_size=20)
    digest.update(repr((cube.shape, dtype.str, cube.nodata)).encode())
    digest.update(_calibration(cube))
    n_rows = max(_BLOCK_BYTES // (width * bands * dtype.itemsize), 1)
    for row in range(0, height, n_rows):
        progress(row / height, "Reading the cube")
        block = np.asarray(cube.data[row : row + n_rows, :, :])
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def _calibration(cube: SpectralCube) -> bytes:
    """Return wavelengths, good bands, scale and offset as bytes."""
    values = (cube.wavelengths, cube.good_bands, cube.scale, cube.offset)
    return "".join(
        repr(None if each is None else np.asarray(each).tolist()) for each in values
    ).encode()


def file_stamps(cube: SpectralCube) -> tuple[tuple[str, int, int], ...]:
    """Return path, size in bytes and modification time in ns of each file of a cube.

    A file that was moved since the cube was opened has size and time 0.
    """
    named = [cube.metadata.get(name) for name in ("path", "header", "data_file")]
    named += cube.metadata.get("files", ())  # of a series
    stamps: dict[str, tuple[int, int]] = {}
    for path in (str(each) for each in named if each is not None):
        stamps[path] = 0, 0
        with suppress(OSError):
            found = Path(path).stat()
            stamps[path] = found.st_size, found.st_mtime_ns
    return tuple((path, *stamp) for path, stamp in stamps.items())


@cache
def code_key() -> str:
    """Compute a hash of the version and of the code that computes features."""
    package = Path(__file__).parents[1]
    digest = hashlib.blake2b(__version__.encode(), digest_size=20)
    for path in sorted(each for name in _PACKAGES for each in (package / name).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class FileGuard:
    """Detects changes to the files of a cube while it is being read.

    Args:
        cube: whose files are as they are now.
    """

    def __init__(self, cube: SpectralCube) -> None:
        self._cube = cube
        self._stamps = file_stamps(cube)

    @property
    def changed(self) -> bool:
        """Whether size or modification time of a file changed since the guard was made."""
        return file_stamps(self._cube) != self._stamps

    def check(self) -> None:
        """Check the files; takes microseconds.

        Raises:
            CubeError: a file changed.
        """
        if self.changed:
            raise CubeError(
                f"{self._cube.name} changed on disk while it was being read, so nothing computed "
                "from it was saved: start again once the file is complete."
            )
