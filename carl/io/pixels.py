"""A look at some of a cube's pixels, cheap enough for cubes larger than memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CubeError

_BLOCK_BYTES = 32 * 2**20


def sample_pixels(cube: SpectralCube, n_pixels: int = 4096) -> NDArray[np.float32]:
    """About `n_pixels` spectra from rows spread over the cube: (N, C) physical values.

    Few rows are read, with many pixels of each, since rows are what files keep together. Of a cube
    so small that all fit, all pixels are taken.

    Args:
        cube: the cube.
        n_pixels: how many to take.
    """
    height, width, _ = cube.shape
    n_rows = min(height, max(8, -(-n_pixels // width)))
    rows = np.unique(np.linspace(0, height - 1, n_rows).round().astype(int))
    step = max(1, width * len(rows) // n_pixels)
    every = slice(None, None, step)
    blocks = [cube.read(slice(int(row), int(row) + 1), every)[0] for row in rows]
    return np.concatenate(blocks)


def check_pixels(cube: SpectralCube) -> None:
    """Make sure that there is something to see in a cube.

    Reads a sample; the whole cube only where the sample holds nothing.

    Raises:
        CubeError: no pixel has a finite value.
    """
    if np.isfinite(sample_pixels(cube)).any():
        return
    height, width, n_bands = cube.shape
    rows_at_once = max(1, _BLOCK_BYTES // (4 * width * n_bands))
    for start in range(0, height, rows_at_once):
        if np.isfinite(cube.read(slice(start, start + rows_at_once))).any():
            return
    raise CubeError(f"{cube.name} has no pixel with a finite value: every one is NaN or no data.")
