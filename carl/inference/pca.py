"""Principal components of a feature map as a colour image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.inference.upsampling import upsample

_STRETCH = (1.0, 99.0)
"""Percentiles of a component that become 0 and 1, so that a few outliers do not reduce contrast."""
_MAX_PIXELS = 1 << 25
"""Largest image of `colour_picture` with one pixel per pixel of the cube: 100 MB."""
_MAX_FITTED = 1 << 16
"""Largest number of patches the components are computed from; more do not change them."""
_STRIP_ROWS = 64
"""Rows that are transformed at a time."""


def _components(features: NDArray[np.floating], n_components: int) -> Float32Array:
    """Return the leading principal components (h, w, N) in 0..1 of a map (h, w, D).

    Features are standardised first. The sign of a component, which the decomposition leaves open,
    is chosen so that its largest loading is positive: the same features give the same image.
    """
    h, w, depth = features.shape
    step = max(1, int(np.ceil(np.sqrt(h * w / _MAX_FITTED))))
    table = features[::step, ::step].reshape(-1, depth).astype(np.float64)
    mean = table.mean(axis=0)
    table -= mean
    deviation = table.std(axis=0)
    # A feature that varies by rounding errors only must not be scaled to unit variance.
    noise = 1e-6 * max(float(deviation.max()), 1e-12)
    scale = 1 / np.where(deviation > noise, deviation, np.inf)
    table *= scale

    _, axes = np.linalg.eigh(table.T @ table)
    axes = axes[:, ::-1][:, :n_components]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes *= np.sign(largest)
    low, high = np.percentile(table @ axes, _STRETCH, axis=0)
    span = np.where(high - low > 1e-9, high - low, np.inf)  # no variance: 0 everywhere
    axes = axes * scale[:, None]

    result = np.empty((h, w, low.size), np.float32)
    for top in range(0, h, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        result[rows] = np.clip(((features[rows] - mean) @ axes - low) / span, 0, 1)
    return result


def pca_picture(
    features: NDArray[np.floating], shape: tuple[int, int], patch_size: int, n_components: int = 3
) -> Float32Array:
    """Return the leading principal components of a feature map, upsampled to pixels.

    Args:
        features: (h, w, D) one vector per patch.
        shape: (H, W) of the image in pixels.
        patch_size: pixels along a side of a patch.
        n_components: N, at most D; 3 for a colour image.

    Returns:
        (H, W, N) in 0..1. A component without variance is 0.
    """
    return upsample(_components(features, n_components), shape, patch_size)


def colour_picture(
    features: NDArray[np.floating], shape: tuple[int, int], patch_size: int
) -> NDArray[np.uint8]:
    """Return the first three components as colours, computed in strips of bounded memory.

    Args:
        features: (h, w, D) one vector per patch; D at least 3.
        shape: (H, W) of the image in pixels.
        patch_size: pixels along a side of a patch.

    Returns:
        (H, W, 3); for a cube of more than 32 million pixels (h, w, 3), one pixel per patch.
    """
    components = _components(features, 3)
    if shape[0] * shape[1] > _MAX_PIXELS:
        return _as_bytes(components)
    colours = np.empty((*shape, 3), np.uint8)
    for top in range(0, shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        colours[rows] = _as_bytes(upsample(components, shape, patch_size, rows))
    return colours


def _as_bytes(image: Float32Array) -> NDArray[np.uint8]:
    return np.rint(255 * image).astype(np.uint8)
