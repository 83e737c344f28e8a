"""A colour picture of a feature map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.inference.upsampling import upsample

_STRETCH = (1.0, 99.0)
"""Percentiles that become black and full colour: a few odd patches must not flatten the rest."""


def pca_picture(
    features: NDArray[np.floating], shape: tuple[int, int], patch_size: int, n_components: int = 3
) -> NDArray[np.float32]:
    """The leading principal components of a feature map, stretched to 0..1.

    Features are standardised first. The sign of a component, which the analysis leaves open, is
    chosen so that its largest loading is positive: the same features always give the same picture.

    Args:
        features: (h, w, D) one vector per patch.
        shape: (H, W) of the image in pixels.
        patch_size: pixels along a side of a patch.
        n_components: N, at most D; 3 for a colour picture.

    Returns:
        (H, W, N) float32 in 0..1. A component without variance is 0.
    """
    h, w, depth = features.shape
    table = features.reshape(-1, depth).astype(np.float64)
    table -= table.mean(axis=0)
    spread = table.std(axis=0)
    # A feature whose spread is rounding noise would be blown up to unit variance.
    table /= np.where(spread > 1e-6 * max(float(spread.max()), 1e-12), spread, np.inf)

    _, axes = np.linalg.eigh(table.T @ table)
    axes = axes[:, ::-1][:, :n_components]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    components = table @ (axes * np.sign(largest))

    low, high = np.percentile(components, _STRETCH, axis=0)
    span = high - low
    stretched = (components - low) / np.where(span > 1e-9, span, np.inf)
    picture = np.clip(stretched, 0, 1).reshape(h, w, -1).astype(np.float32)
    return upsample(picture, shape, patch_size)
