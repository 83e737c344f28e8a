"""From one feature vector per patch to one per pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def upsample(
    features: NDArray[np.floating],
    shape: tuple[int, int],
    patch_size: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> NDArray[np.float32]:
    """Bilinear interpolation of a patch grid to pixels, centre to centre.

    The centre of patch i lies at pixel coordinate (i + ½)·P − ½. Pixels outside the outermost
    centres take the value at the border.

    Args:
        features: (h, w, D) one vector per patch.
        shape: (H, W) of the image in pixels; the grid may reach over it by a part of a patch.
        patch_size: P, pixels.
        rows: which rows of pixels to make, so that memory can be bounded; all by default.
        columns: which columns of pixels to make; all by default.

    Returns:
        (rows, columns, D) float32.
    """
    height, width = shape
    above, below, down = _neighbours(np.arange(height)[rows], features.shape[0], patch_size)
    left, right, across = _neighbours(np.arange(width)[columns], features.shape[1], patch_size)
    grid = np.asarray(features, np.float32)
    strip = _blend(grid, above, below, down[:, None, None], axis=0)
    return _blend(strip, left, right, across[:, None], axis=1)


def _neighbours(
    pixels: NDArray[np.intp], n_patches: int, patch_size: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each pixel the patch before it, the one after, and the weight of the latter."""
    position = np.clip((pixels + 0.5) / patch_size - 0.5, 0, n_patches - 1)
    before = position.astype(np.intp)
    after = np.minimum(before + 1, n_patches - 1)
    return before, after, (position - before).astype(np.float32)


def _blend(
    values: NDArray[np.float32],
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    weight: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    # In place: these are the largest arrays of a prediction.
    result = np.take(values, before, axis)
    result *= 1 - weight
    other = np.take(values, after, axis)
    other *= weight
    result += other
    return result
