"""Fewer bands through less of the network, and what that changes taken off again.

Neighbours in wavelength are averaged before the network, and of the spectral encoder only some
pairs of blocks and some queries are run. It answers differently then, but much of the difference
follows, all over a cube, from the features and from what each band shows in a patch. It is learned
from patches that were computed in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.arrays import Float32Array
from carl.inference.folded import ComputeBudget

_GROUP_COUNTS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
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

    def merge(self, strip: Float32Array) -> Float32Array:
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
        budget: how much of the encoder is run.
    """

    groups: BandGroups
    budget: ComputeBudget


def shortcuts(
    wavelengths: NDArray[np.float64], whole: ComputeBudget, fewest_queries: int
) -> list[Shortcut]:
    """Shortcuts worth trying, the cheapest first; no more than it pays to try.

    Args:
        wavelengths: (C,) of the camera.
        whole: all that there is to run.
        fewest_queries: that can be run.
    """

    def cost(n_bands: int, budget: ComputeBudget) -> float:
        return budget.pairs * (n_bands + budget.queries)  # tokens and queries cost the same

    full_cost = cost(wavelengths.size, whole)
    efforts = {*(ComputeBudget(n, fewest_queries) for n in range(1, whole.pairs + 1)), whole}
    ways = [(cost(count, each), count, each) for each in efforts for count in _GROUP_COUNTS]
    worthwhile = sorted(
        way for way in ways if way[0] * _LEAST_SAVED <= full_cost and way[1] < wavelengths.size
    )
    spent = np.cumsum([way[0] for way in worthwhile])
    return [
        Shortcut(BandGroups.of(wavelengths, count), budget)
        for _, count, budget in worthwhile[
            : int(np.searchsorted(spent, _TRIED * full_cost, "right"))
        ]
    ]


def band_statistics(strip: Float32Array) -> Float32Array:
    """Mean and spread of each band in each patch: (C, P, n·P) to (n, 2·C)."""
    n_bands, size, width = strip.shape
    rows = torch.from_numpy(strip).unbind(1)
    total, squares = rows[0].clone(), rows[0].square()
    for row in rows[1:]:
        total += row
        squares.addcmul_(row, row)
    shape = n_bands, width // size, size
    mean, square = (each.view(shape).sum(2) / size**2 for each in (total, squares))
    spread = (square - mean.square()).clamp(min=0).sqrt()
    statistics: Float32Array = torch.cat([mean, spread]).T.numpy()
    return statistics


@dataclass(frozen=True, eq=False)
class Correction:
    """From approximate to exact features: kernel ridge regression of their difference.

    Its inputs x are the approximate features and, as merged bands hide what differs between them,
    the `band_statistics` of the patch, both with the same say; x·x is 1 on average. Its kernel
    (1 + x·y / 2)² − 1 is that of straight and quadratic terms. Patches farther out than any it was
    learned from are treated as if they lay no farther, since squares grow without bound.

    Attributes:
        origin: (D + S,) mean of the inputs it was learned from.
        scale: (D + S,) of the inputs.
        patches: (D + S, n) the inputs x.
        weights: (n, D) of these patches in the difference.
        offset: (D,) of the difference.
    """

    origin: Float32Array
    scale: Float32Array
    patches: Float32Array
    weights: Float32Array
    offset: Float32Array

    def __call__(self, features: Float32Array, statistics: Float32Array) -> Float32Array:
        """Corrected features (n, D) of approximate ones and of statistics (n, S)."""
        inputs = np.concatenate([features, statistics], axis=1)
        inputs -= self.origin
        inputs *= self.scale
        farthest = np.sqrt(_squares(self.patches.T).max())
        lengths = np.sqrt(_squares(inputs))[:, None]
        inputs /= np.maximum(lengths / max(farthest, _TINY), 1)
        inputs_, patches, weights = map(torch.from_numpy, (inputs, self.patches, self.weights))
        corrected: Float32Array = (_kernel(inputs_ @ patches) @ weights).numpy()
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
        """Learn from patches of which both are known.

        Args:
            approximate: (n, D).
            statistics: (n, S).
            exact: (n, D).
            penalty: of the regression, over the mean of the kernel of a patch with itself.

        Returns:
            the correction, and what each patch becomes by a correction learned from all others:
            e / (1 − h) is the residual of a patch left out, if e is its residual and h its leverage
            (Cook & Weisberg 1982, "Residuals and influence in regression").
        """
        inputs = np.concatenate([approximate, statistics], axis=1, dtype=np.float64)
        origin, scale = inputs.mean(axis=0), np.ones(inputs.shape[1])
        inputs -= origin
        for kind in (slice(exact.shape[1]), slice(exact.shape[1], None)):
            scale[kind] = max(2 * _squares(inputs[:, kind]).mean(), _TINY) ** -0.5
        inputs *= scale
        gram = _kernel(inputs @ inputs.T)
        usual = gram.mean(axis=0)
        centred = gram - usual - usual[:, None] + usual.mean()
        difference = np.asarray(exact, np.float64) - approximate
        mean = difference.mean(axis=0)
        ridge = penalty * max(np.trace(centred) / len(gram), _TINY)
        inverse = np.linalg.inv(centred + ridge * np.eye(len(gram)))
        weights = inverse @ (difference - mean)
        residual = difference - mean - centred @ weights
        leverage = 1 / len(gram) + np.einsum("ij,ji->i", centred, inverse)
        left_out = exact - residual / (1 - leverage)[:, None]
        arrays = (origin, scale, inputs.T, weights, mean - usual @ weights)
        return cls(*(each.astype(np.float32) for each in arrays)), left_out.astype(np.float32)


_TINY = np.finfo(np.float32).tiny
_Product = TypeVar("_Product", Tensor, NDArray[np.float64])


def _kernel(product: _Product) -> _Product:
    return product * (1 + product / 4)


def _squares(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Squared lengths of the rows."""
    squares: NDArray[np.floating] = np.einsum("ij,ij->i", vectors, vectors)
    return squares
