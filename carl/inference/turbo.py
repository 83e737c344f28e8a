"""Approximate spectral features: merged bands, a part of the encoder, and a learned correction.

Neighbouring bands are averaged, and of the spectral encoder only some pairs of blocks and some
queries are run (a `Shortcut`). Most of the resulting error is a smooth function of the approximate
features and of the mean and standard deviation of each band in the patch. It is learned from
patches whose exact features are known, and subtracted (`Correction`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.arrays import Float32Array
from carl.inference.backend import ComputeBudget

_GROUP_COUNTS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Candidate numbers of band groups, each at most half as many again as the one before."""
_MIN_SPEEDUP = 1.5
"""Smallest ratio of the exact cost to that of a shortcut that is worth an approximation."""
_MAX_TRIAL_COST = 3.0
"""Largest total cost of trying shortcuts, as a multiple of the exact cost of the same patches."""


@dataclass(frozen=True, eq=False)
class BandGroups:
    """Bands adjacent in wavelength, in groups whose sizes differ by one at most.

    Attributes:
        order: (C,) bands in order of wavelength.
        starts: (G,) index into `order` at which each group starts.
        wavelengths: (G,) mean wavelength of each group, in the unit given.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    wavelengths: NDArray[np.float64]

    @classmethod
    def of(cls, wavelengths: NDArray[np.float64], n_groups: int) -> Self:
        """Divide bands of wavelengths (C,) into G = `n_groups` groups, at most C."""
        order = np.argsort(wavelengths, kind="stable")
        starts = np.arange(n_groups) * order.size // n_groups
        sizes = np.diff(starts, append=order.size).astype(np.float64)
        return cls(order, starts, np.add.reduceat(wavelengths[order], starts) / sizes)

    def merge(self, strip: Float32Array) -> Float32Array:
        """Average the bands of each group: (C, P, n·P) to (G, P, n·P)."""
        if np.any(np.diff(self.order) != 1):  # bands are rarely out of order, and a copy is slow
            strip = strip[self.order]
        stops = (*self.starts[1:], self.order.size)
        groups = zip(self.starts, stops, strict=True)
        return np.stack([strip[start:stop].mean(axis=0) for start, stop in groups])


class Shortcut(NamedTuple):
    """A cheaper way through the spectral encoder.

    Attributes:
        groups: bands to merge.
        budget: part of the encoder to run.
    """

    groups: BandGroups
    budget: ComputeBudget


def candidate_shortcuts(
    wavelengths: NDArray[np.float64], full: ComputeBudget, min_queries: int
) -> list[Shortcut]:
    """Return the shortcuts to try, cheapest first, limited by the total cost of trying them.

    The cost of a pass is taken as pairs × (bands + queries), since the linear layers dominate and
    act on every token and query of every pair of blocks.

    Args:
        wavelengths: (C,) of the camera.
        full: budget of the whole encoder.
        min_queries: smallest number of queries that the readout accepts.
    """

    def cost(n_bands: int, budget: ComputeBudget) -> float:
        return budget.pairs * (n_bands + budget.queries)

    full_cost = cost(wavelengths.size, full)
    budgets = {*(ComputeBudget(n, min_queries) for n in range(1, full.pairs + 1)), full}
    candidates = sorted(
        (cost(count, budget), count, budget)
        for budget in budgets
        for count in _GROUP_COUNTS
        if count < wavelengths.size and cost(count, budget) * _MIN_SPEEDUP <= full_cost
    )
    total_cost = np.cumsum([each[0] for each in candidates])
    n_affordable = int(np.searchsorted(total_cost, _MAX_TRIAL_COST * full_cost, "right"))
    return [
        Shortcut(BandGroups.of(wavelengths, count), budget)
        for _, count, budget in candidates[:n_affordable]
    ]


def band_statistics(strip: Float32Array) -> Float32Array:
    """Compute mean and standard deviation of each band in each patch.

    Args:
        strip: (C, P, n·P) patches side by side.

    Returns:
        (n, 2·C): the means of all bands, then their standard deviations.
    """
    n_bands, size, width = strip.shape
    rows = torch.from_numpy(strip).unbind(1)
    total, squares = rows[0].clone(), rows[0].square()
    for row in rows[1:]:
        total += row
        squares.addcmul_(row, row)
    shape = n_bands, width // size, size
    mean, square = (each.view(shape).sum(2) / size**2 for each in (total, squares))
    deviation = (square - mean.square()).clamp(min=0).sqrt()
    statistics: Float32Array = torch.cat([mean, deviation]).T.numpy()
    return statistics


@dataclass(frozen=True, eq=False)
class Correction:
    """Kernel ridge regression of the difference between exact and approximate features.

    The input x of a patch is its approximate features and its `band_statistics`, each centred, and
    scaled so that both contribute the same to x·x, whose mean is 1. The kernel is that of linear
    and quadratic terms, k(x, y) = (1 + x·y / 2)² − 1 = x·y + (x·y)² / 4. Inputs longer than any it
    was learned from are shortened to that length, since quadratic terms extrapolate without bound.

    Attributes:
        origin: (D + S,) mean of the inputs.
        scale: (D + S,) factors of the inputs.
        patches: (D + S, n) inputs x of the patches it was learned from.
        weights: (n, D) dual coefficients α of these patches.
        offset: (D,) constant term.
    """

    origin: Float32Array
    scale: Float32Array
    patches: Float32Array
    weights: Float32Array
    offset: Float32Array

    def __call__(self, features: Float32Array, statistics: Float32Array) -> Float32Array:
        """Return corrected features (n, D) of approximate ones (n, D) and statistics (n, S)."""
        inputs = np.concatenate([features, statistics], axis=1)
        inputs -= self.origin
        inputs *= self.scale
        longest = np.sqrt(_squared_norms(self.patches.T).max())
        lengths = np.sqrt(_squared_norms(inputs))[:, None]
        inputs /= np.maximum(lengths / max(longest, _TINY), 1)
        inputs_, patches, weights = map(torch.from_numpy, (inputs, self.patches, self.weights))
        corrected: Float32Array = (_kernel(inputs_ @ patches) @ weights).numpy()  # Σ α k(x, xᵢ)
        corrected += features
        corrected += self.offset
        return corrected

    @classmethod
    def learn(
        cls,
        approximate: Float32Array,
        statistics: Float32Array,
        exact: Float32Array,
        penalty: float,
    ) -> tuple[Self, Float32Array]:
        """Learn from patches whose approximate and exact features are known.

        With the centred kernel matrix K' = H K H, H = I − 1/n, and the centred differences Y, the
        dual coefficients are α = (K' + λ I)⁻¹ Y (Saunders et al. 1998, "Ridge regression learning
        algorithm in dual variables").

        Args:
            approximate: (n, D) features.
            statistics: (n, S) band statistics.
            exact: (n, D) features.
            penalty: λ as a multiple of the mean diagonal of K'.

        Returns:
            the correction, and the leave-one-out predictions (n, D): each patch corrected by a
            regression learned from all others. With the residual e and the leverage h of a patch,
            its leave-one-out residual is e / (1 − h) (Cook & Weisberg 1982, "Residuals and
            influence in regression").
        """
        inputs = np.concatenate([approximate, statistics], axis=1, dtype=np.float64)
        origin, scale = inputs.mean(axis=0), np.ones(inputs.shape[1])
        inputs -= origin
        for kind in (slice(exact.shape[1]), slice(exact.shape[1], None)):
            scale[kind] = max(2 * _squared_norms(inputs[:, kind]).mean(), _TINY) ** -0.5
        inputs *= scale
        gram = _kernel(inputs @ inputs.T)
        column_mean = gram.mean(axis=0)
        centred = gram - column_mean - column_mean[:, None] + column_mean.mean()  # H K H
        difference = np.asarray(exact, np.float64) - approximate
        mean = difference.mean(axis=0)
        ridge = penalty * max(np.trace(centred) / len(gram), _TINY)
        inverse = np.linalg.inv(centred + ridge * np.eye(len(gram)))
        weights = inverse @ (difference - mean)  # α
        residual = difference - mean - centred @ weights  # e
        leverage = 1 / len(gram) + np.einsum("ij,ji->i", centred, inverse)  # h
        left_out = exact - residual / (1 - leverage)[:, None]
        arrays = (origin, scale, inputs.T, weights, mean - column_mean @ weights)
        return cls(*(each.astype(np.float32) for each in arrays)), left_out.astype(np.float32)


_TINY = np.finfo(np.float32).tiny
"""Smallest positive divisor, for inputs without variance."""
_Product = TypeVar("_Product", Tensor, NDArray[np.float64])


def _kernel(product: _Product) -> _Product:
    """Return (1 + p / 2)² − 1 of dot products p."""
    return product * (1 + product / 4)


def _squared_norms(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the squared lengths (n,) of rows (n, d)."""
    squares: NDArray[np.floating] = np.einsum("ij,ij->i", vectors, vectors)
    return squares
