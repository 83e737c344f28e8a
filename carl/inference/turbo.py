"""Fewer bands through the network: neighbours in wavelength are averaged before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

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


def groups_to_try(wavelengths: NDArray[np.float64]) -> list[BandGroups]:
    """Ways to merge the bands of a camera, the fewest groups first."""
    n_bands = wavelengths.size
    all_groups = [BandGroups.of(wavelengths, size) for size in _GROUP_SIZES]
    return [each for each in all_groups if _FEWEST_GROUPS <= each.starts.size < n_bands]
