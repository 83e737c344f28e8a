"""What is in a cube, in one number."""

from __future__ import annotations

import hashlib

import numpy as np

from carl.cube import SpectralCube
from carl.mapped_files import read_mapped
from carl.progress import Progress, no_progress

_BLOCK_BYTES = 16 << 20


def content_key(cube: SpectralCube, progress: Progress = no_progress) -> str:
    """A key that differs where two cubes differ in anything that their features depend on.

    All pixels are read, and nothing else is trusted: neither names nor times tell what is in a
    file. A processor core reads about a gigabyte a second, a hundred times what it can embed.

    Args:
        cube: to be told from others.
        progress: told many times a second; cancels by raising.

    Raises:
        CubeError: the cube cannot be read.
        Cancelled: by `progress`.
    """
    height, width, bands = cube.shape
    dtype = np.dtype(cube.data.dtype)
    digest = hashlib.blake2b(digest_size=20)
    digest.update(repr((cube.shape, dtype.str, cube.nodata)).encode())
    for values in (cube.wavelengths, cube.good_bands, cube.scale, cube.offset):
        digest.update(repr(None if values is None else np.asarray(values).tolist()).encode())
    n_rows = max(_BLOCK_BYTES // (width * bands * dtype.itemsize), 1)
    for row in range(0, height, n_rows):
        progress(row / height, "Reading the cube")
        block = read_mapped(np.asarray(cube.data[row : row + n_rows, :, :]))
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
