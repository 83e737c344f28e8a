"""Fewer bands through less of the network, and what that changes taken off again.

Neighbours in wavelength are averaged before the network, and of the spectral encoder only some
pairs of blocks and some queries are run. It answers differently then, but much of the difference is
the same, or linear in the features, all over a cube. It is learned from patches that were computed
in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from carl.inference.folded import Effort

FloatArray = NDArray[np.float32]

_GROUP_COUNTS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_LEAST_SAVED = 1.5
"""Of the cost of all bands; with less it is not worth being inexact."""
_TRIED = 3.0
"""Times the cost of all bands that trying may take."""


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
    def of(cls, wavelengths: NDArray[np.float64], n_groups: int) -> Self:
        """So many groups, of as many bands each as another or one more."""
        order = np.argsort(wavelengths, kind="stable")
        starts = np.arange(n_groups) * order.size // n_groups
        counts = _counts(order, starts).astype(np.float64)
        return cls(order, starts, np.add.reduceat(wavelengths[order], starts) / counts)

    def merge(self, strip: FloatArray) -> FloatArray:
        """Mean of each group: (C, P, n·P) to (G, P, n·P)."""
        if np.any(np.diff(self.order) != 1):  # bands are seldom out of order, and copies cost
            strip = strip[self.order]
        stops = (*self.starts[1:], self.order.size)
        groups = zip(self.starts, stops, strict=True)
        return np.stack([strip[start:stop].mean(axis=0) for start, stop in groups])


def _counts(order: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.diff(starts, append=order.size).astype(np.float32)


class Shortcut(NamedTuple):
    """A cheaper way through the spectral encoder.

    Attributes:
        groups: of bands.
        effort: how much of the encoder is run.
    """

    groups: BandGroups
    effort: Effort


def shortcuts(
    wavelengths: NDArray[np.float64], whole: Effort, fewest_queries: int
) -> list[Shortcut]:
    """Shortcuts worth trying, the cheapest first; no more than it pays to try.

    Args:
        wavelengths: (C,) of the camera.
        whole: all that there is to run.
        fewest_queries: that can be run.
    """

    def cost(n_bands: int, effort: Effort) -> float:
        return effort.pairs * (n_bands + effort.queries)  # tokens and queries cost the same

    full_cost = cost(wavelengths.size, whole)
    efforts = {Effort(1, fewest_queries), Effort(whole.pairs, fewest_queries), whole}
    ways = [(cost(count, each), count, each) for each in efforts for count in _GROUP_COUNTS]
    worthwhile = sorted(
        way for way in ways if way[0] * _LEAST_SAVED <= full_cost and way[1] < wavelengths.size
    )
    spent = np.cumsum([way[0] for way in worthwhile])
    return [
        Shortcut(BandGroups.of(wavelengths, count), effort)
        for _, count, effort in worthwhile[
            : int(np.searchsorted(spent, _TRIED * full_cost, "right"))
        ]
    ]


@dataclass(frozen=True, eq=False)
class Correction:
    """A linear map from approximate to exact features: ridge regression of their difference.

    Attributes:
        mean: (D,) of the approximate features it was learned from.
        exact_mean: (D,) of the exact ones.
        patches: (D, n) the approximate features, centred.
        weights: (n, D) of these patches in the difference.
    """

    mean: FloatArray
    exact_mean: FloatArray
    patches: FloatArray
    weights: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Corrected features (n, D) of approximate ones."""
        centred = features - self.mean
        centred_, patches, weights = map(torch.from_numpy, (centred, self.patches, self.weights))
        corrected: FloatArray = (centred_ @ patches @ weights).numpy()
        corrected += centred
        corrected += self.exact_mean
        return corrected

    @classmethod
    def learn(
        cls, approximate: FloatArray, exact: FloatArray, penalty: float
    ) -> tuple[Self, FloatArray]:
        """Learn from patches of which both are known.

        Args:
            approximate: (n, D).
            exact: (n, D).
            penalty: of the regression, over the mean squared length of the centred features.

        Returns:
            the correction, and what each patch becomes by a correction learned from all others:
            e / (1 − h) is the residual of a patch left out, if e is its residual and h its leverage
            (Cook & Weisberg 1982, "Residuals and influence in regression").
        """
        mean, exact_mean = (each.mean(axis=0, dtype=np.float64) for each in (approximate, exact))
        centred = approximate - mean
        difference = exact - exact_mean - centred
        gram = centred @ centred.T
        ridge = penalty * max(np.trace(gram) / len(gram), np.finfo(np.float64).tiny)
        inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
        weights = inverse @ difference
        residual = difference - gram @ weights
        leverage = 1 / len(gram) + np.einsum("ij,ji->i", gram, inverse)
        left_out = exact - residual / (1 - leverage)[:, None]
        arrays = (each.astype(np.float32) for each in (mean, exact_mean, centred.T, weights))
        return cls(*arrays), left_out.astype(np.float32)
