"""Fewer bands through the network: neighbours are averaged where the features do not mind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

LEAST_FIDELITY = 0.99
"""Cosine to the exact features below which fewer bands are merged, or none."""
_GROUP_SIZES = (16, 12, 8, 6, 5, 4, 3, 2)
_FEWEST_GROUPS = 3
"""A colour picture is the least the network has learned from."""


@dataclass(frozen=True, eq=False)
class BandGroups:
    """Bands that lie side by side in wavelength, gathered in groups of nearly equal size.

    Attributes:
        order: (C,) bands by wavelength.
        starts: (G,) where in `order` each group begins.
        wavelengths: (G,) mean wavelength of each group.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    wavelengths: NDArray[np.float64]

    @classmethod
    def of(cls, wavelengths: NDArray[np.float64], size: int) -> BandGroups:
        """Groups of `size` bands, or one band fewer where the division leaves a rest."""
        order = np.argsort(wavelengths, kind="stable")
        n_groups = -(-order.size // size)
        starts = np.arange(n_groups) * order.size // n_groups
        means = np.add.reduceat(wavelengths[order], starts) / _counts(order, starts)
        return cls(order, starts, means)

    def merge(self, strip: FloatArray) -> FloatArray:
        """Mean of each group: (C, P, n·P) to (G, P, n·P)."""
        sums: FloatArray = np.add.reduceat(strip[self.order], self.starts, axis=0)
        sums /= _counts(self.order, self.starts)[:, None, None]
        return sums


def _counts(order: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.diff(starts, append=order.size).astype(np.float32)


def choose_groups(
    strip: FloatArray,
    wavelengths: NDArray[np.float64],
    features_of: Callable[[FloatArray, NDArray[np.float64]], FloatArray],
) -> tuple[BandGroups | None, float]:
    """The largest groups of bands whose features are those of all bands, nearly.

    Args:
        strip: (C, P, n·P) sample of normalised patches.
        wavelengths: (C,) in nm.
        features_of: maps a strip and its wavelengths to (n, D) features.

    Returns:
        the groups, or None where even pairs of bands change the features too much, and the median
        over patches of the cosine between features of merged and of all bands.
    """
    exact = features_of(strip, wavelengths)
    for size in _GROUP_SIZES:
        groups = BandGroups.of(wavelengths, size)
        if groups.starts.size < min(_FEWEST_GROUPS, wavelengths.size):
            continue
        if groups.starts.size == wavelengths.size:
            continue
        merged = features_of(groups.merge(strip), groups.wavelengths)
        fidelity = float(np.median(_cosines(exact, merged)))
        if fidelity >= LEAST_FIDELITY:
            return groups, fidelity
    return None, 1.0


def _cosines(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Cosine between corresponding rows."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny))
