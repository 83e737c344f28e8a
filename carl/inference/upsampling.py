"""Interpolate a map of patches to pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array


def upsample(
    features: NDArray[np.floating],
    shape: tuple[int, int],
    patch_size: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> Float32Array:
    """Interpolate a patch grid to pixels bilinearly, centre to centre.

    The centre of patch i lies at pixel coordinate (i + ½)·P − ½. Pixels outside the outermost
    centres take the value at the border.

    Args:
        features: (h, w, D) one vector per patch.
        shape: (H, W) of the image in pixels; the last patches may reach over its border.
        patch_size: P, pixels.
        rows: rows of pixels to compute; all by default.
        columns: columns of pixels to compute; all by default.

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
) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32Array]:
    """Return the patches before and after each pixel, and the weight of the latter."""
    position = np.clip((pixels + 0.5) / patch_size - 0.5, 0, n_patches - 1)
    before = position.astype(np.intp)
    after = np.minimum(before + 1, n_patches - 1)
    return before, after, (position - before).astype(np.float32)


def _blend(
    values: Float32Array,
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    weight: Float32Array,
    axis: int,
) -> Float32Array:
    # In place, since these are the largest arrays of a prediction.
    result = np.take(values, before, axis)
    result *= 1 - weight
    other = np.take(values, after, axis)
    other *= weight
    result += other
    return result
