"""A colour picture of a feature map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from carl.inference.upsampling import upsample

_STRETCH = (1.0, 99.0)
"""Percentiles that become black and full colour: a few odd patches must not flatten the rest."""


_MOST_PIXELS = 1 << 25
_MOST_FITTED = 1 << 16
"""Patches that tell the components of a map; more do not change them."""
_STRIP_ROWS = 64


@dataclass(frozen=True, eq=False)
class ComponentImage:
    """Principal components of features, and how they become brightness.

    Features are standardised first. The sign of a component, which the analysis leaves open, is
    chosen so that its largest loading is positive: the same features always give the same picture.

    Attributes:
        mean: (D,) subtracted from features.
        axes: (D, N) what they are multiplied by after that.
        low: (N,) value of a component that becomes 0.
        span: (N,) from there to what becomes 1; infinite for a component without variance.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    low: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray[np.floating], n_components: int) -> Self:
        """The leading components of a map (h, w, D), from patches spread evenly over it."""
        h, w, depth = features.shape
        step = max(1, int(np.ceil(np.sqrt(h * w / _MOST_FITTED))))
        table = features[::step, ::step].reshape(-1, depth).astype(np.float64)
        mean = table.mean(axis=0)
        table -= mean
        spread = table.std(axis=0)
        # A feature whose spread is rounding noise would be blown up to unit variance.
        noise = 1e-6 * max(float(spread.max()), 1e-12)
        scale = 1 / np.where(spread > noise, spread, np.inf)
        table *= scale

        _, axes = np.linalg.eigh(table.T @ table)
        axes = axes[:, ::-1][:, :n_components]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
        axes *= np.sign(largest)
        low, high = np.percentile(table @ axes, _STRETCH, axis=0)
        span = high - low
        return cls(mean, axes * scale[:, None], low, np.where(span > 1e-9, span, np.inf))

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """ComponentImage (h, w, N) of a map (h, w, D), in 0..1."""
        h, w, _ = features.shape
        result = np.empty((h, w, self.low.size), np.float32)
        for top in range(0, h, _STRIP_ROWS):
            rows = slice(top, top + _STRIP_ROWS)
            values = (features[rows] - self.mean) @ self.axes
            result[rows] = np.clip((values - self.low) / self.span, 0, 1)
        return result


def pca_picture(
    features: NDArray[np.floating], shape: tuple[int, int], patch_size: int, n_components: int = 3
) -> NDArray[np.float32]:
    """The leading principal components of a feature map, stretched to 0..1.

    Args:
        features: (h, w, D) one vector per patch.
        shape: (H, W) of the image in pixels.
        patch_size: pixels along a side of a patch.
        n_components: N, at most D; 3 for a colour picture.

    Returns:
        (H, W, N) float32 in 0..1. A component without variance is 0.
    """
    picture = ComponentImage.fit(features, n_components)(features)
    return upsample(picture, shape, patch_size)


def colour_picture(
    features: NDArray[np.floating], shape: tuple[int, int], patch_size: int
) -> NDArray[np.uint8]:
    """The first three components as colours, in memory that a large cube does not need.

    Args:
        features: (h, w, D) one vector per patch; D at least 3.
        shape: (H, W) of the image in pixels.
        patch_size: pixels along a side of a patch.

    Returns:
        (H, W, 3); of a cube beyond 32 million pixels (h, w, 3), a pixel for each patch.
    """
    picture = ComponentImage.fit(features, 3)(features)
    if shape[0] * shape[1] > _MOST_PIXELS:
        return _as_bytes(picture)
    colours = np.empty((*shape, 3), np.uint8)
    for top in range(0, shape[0], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        colours[rows] = _as_bytes(upsample(picture, shape, patch_size, rows))
    return colours


def _as_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255 * picture).astype(np.uint8)
