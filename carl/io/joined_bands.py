"""Cubes whose bands are in several arrays, or in another order than that of their wavelengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float64Array
from carl.lazy_array import ArraySource, Block, LazyArray


class JoinedBands(LazyArray):
    """Chosen bands of one or several cubes of the same height and width.

    Args:
        sources: (H, W, C) arrays; lazy ones are not read.
        bands: (bands, 2) number of the source and band in it, for each band of the result.

    Raises:
        ValueError: the sources differ in height or width.
    """

    def __init__(self, sources: Sequence[ArraySource], bands: ArrayLike) -> None:
        sizes = {tuple(source.shape[:2]) for source in sources}
        if len(sizes) != 1:
            raise ValueError(f"images of the sizes {sorted(sizes)} are no cube")
        self._sources = list(sources)
        self._bands: NDArray[np.intp] = np.asarray(bands, np.intp).reshape(-1, 2)
        dtype = np.result_type(*(source.dtype for source in sources))
        super().__init__((*sizes.pop(), len(self._bands)), dtype)

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, columns, bands = block
        chosen = self._bands[bands]
        shape = [len(range(n)[s]) for n, s in zip(self.shape, block, strict=True)]
        values = np.empty(shape, self.dtype)
        for number in np.unique(chosen[:, 0]):
            here = chosen[:, 0] == number
            inside = chosen[here, 1]
            first, last = int(inside.min()), int(inside.max())
            part = np.asarray(self._sources[number][rows, columns, first : last + 1])
            values[..., here] = part[..., inside - first]
        return values


def by_wavelength(wavelengths: Float64Array, n_bands: Sequence[int]) -> NDArray[np.intp]:
    """Return the bands of several arrays in the order of their wavelengths, for a `JoinedBands`.

    Args:
        wavelengths: (bands,) of all arrays one after the other; bands of 0 are unused and left out.
        n_bands: number of bands of each array.

    Examples:
        >>> by_wavelength(np.array([500.0, 400.0, 0.0, 450.0]), [3, 1]).tolist()
        [[0, 1], [1, 0], [0, 0]]
    """
    sources = np.repeat(np.arange(len(n_bands)), n_bands)
    inside = np.concatenate([np.arange(n) for n in n_bands])
    order = np.argsort(wavelengths, kind="stable")
    order = order[wavelengths[order] > 0]
    return np.stack([sources[order], inside[order]], axis=1)
