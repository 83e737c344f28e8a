"""Feature maps at several resolutions, read at pixels and turned into scores for every pixel.

A linear score of bilinearly interpolated features is the bilinear interpolation of the score. So
coarse maps are never blown up to the size of the cube: they are multiplied by the weights first,
and only the few scores are interpolated. That is what makes a map of the whole cube quick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.inference import upsample

Region = tuple[slice, slice]
"""Rows and columns of pixels; steps above 1 take every n-th."""

EVERYWHERE: Region = (slice(None), slice(None))
_BLOCK_PIXELS = 1 << 18


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One group of features of a cube.

    Attributes:
        name: of the group, e.g. ``"texture 6 px"``.
        values: (h, w, d) features; cell (0, 0) has its centre at pixel (cell − 1) / 2.
        cell: pixels along a side of a cell; 1 for a value at every pixel.
        error_variance: (d,) relative error variance of each feature, due to a camera other than the
            one of the training cubes; None for none.
    """

    name: str
    values: Float32Array
    cell: int
    error_variance: Float32Array | None = None

    @property
    def width(self) -> int:
        """Number of features d."""
        return int(self.values.shape[2])

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float32Array:
        """Features at pixels, (n, d), interpolated as `carl.inference.upsample` does."""
        if self.cell == 1:
            return self.values[rows, columns]
        top, bottom, down = self._between(rows, self.values.shape[0])
        left, right, across = self._between(columns, self.values.shape[1])
        upper = self.values[top, left] * (1 - across) + self.values[top, right] * across
        lower = self.values[bottom, left] * (1 - across) + self.values[bottom, right] * across
        return np.asarray(upper * (1 - down) + lower * down, np.float32)

    def scores(self, weights: Float32Array, shape: tuple[int, int], region: Region) -> Float32Array:
        """Linear scores ``features @ weights`` of the pixels of a region.

        Args:
            weights: (d, K).
            shape: (H, W) of the cube, pixels.
            region: rows and columns of pixels.

        Returns:
            (rows, columns, K) float32.
        """
        if self.cell == 1:
            return np.asarray(self.values[region] @ weights, np.float32)
        cells, inside = zip(
            *(
                _needed(span, length, self.cell, n_cells)
                for span, length, n_cells in zip(region, shape, self.values.shape[:2], strict=True)
            ),
            strict=True,
        )
        ends = (inside[0].stop, inside[1].stop)
        return upsample(self.values[cells] @ weights, ends, self.cell, *inside)

    def _between(
        self, pixels: NDArray[np.intp], n_cells: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32Array]:
        position = np.clip((pixels + 0.5) / self.cell - 0.5, 0, n_cells - 1)
        before = position.astype(np.intp)
        after = np.minimum(before + 1, n_cells - 1)
        return before, after, (position - before).astype(np.float32)[:, None]


@dataclass(frozen=True, eq=False)
class FeatureStack:
    """All feature groups of one cube.

    Attributes:
        shape: (H, W) pixels.
        maps: the groups, in the order of their columns in `at`.
        valid: (H, W) False where the cube has no data, or None where it has data everywhere.
    """

    shape: tuple[int, int]
    maps: tuple[FeatureMap, ...]
    valid: NDArray[np.bool_] | None = None

    @property
    def nbytes(self) -> int:
        """Memory the features take, in bytes."""
        return sum(each.values.nbytes for each in self.maps)

    @property
    def width(self) -> int:
        """Number of features p."""
        return sum(each.width for each in self.maps)

    @property
    def error_variance(self) -> Float32Array:
        """(p,) share of each feature's variance that may be wrong."""
        return np.concatenate(
            [
                np.zeros(each.width, np.float32)
                if each.error_variance is None
                else each.error_variance
                for each in self.maps
            ]
        )

    def columns(self) -> dict[str, slice]:
        """Where each group lies among the columns of `at`."""
        stops = np.cumsum([each.width for each in self.maps]).tolist()
        starts = [0, *stops[:-1]]
        return {
            each.name: slice(*ends) for each, *ends in zip(self.maps, starts, stops, strict=True)
        }

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float32Array:
        """Features of pixels, (n, p)."""
        return np.concatenate([each.at(rows, columns) for each in self.maps], axis=1)

    def scores(
        self,
        weights: NDArray[np.floating],
        bias: NDArray[np.floating],
        region: Region = EVERYWHERE,
    ) -> Float32Array:
        """Linear scores ``features @ weights + bias`` of every pixel of a region.

        Args:
            weights: (p, K).
            bias: (K,).
            region: rows and columns of pixels; all by default.

        Returns:
            (rows, columns, K) float32.
        """
        rows, columns = (range(n)[span] for n, span in zip(self.shape, region, strict=True))
        parts = [
            (each, weights[where].astype(np.float32))
            for each, where in zip(self.maps, self.columns().values(), strict=True)
        ]
        result = np.empty((len(rows), len(columns), weights.shape[1]), np.float32)
        result[:] = bias
        step = max(1, _BLOCK_PIXELS // max(len(columns), 1))
        for top in range(0, len(rows), step):
            block = rows[top : top + step]
            here = (slice(block.start, block.stop, block.step), region[1])
            for each, seen in parts:
                result[top : top + step] += each.scores(seen, self.shape, here)
        return result


def _needed(span: slice, length: int, cell: int, n_cells: int) -> tuple[slice, slice]:
    """The cells that pixels are interpolated from, and the pixels counted from the first cell.

    Args:
        span: pixels along an axis.
        length: of the axis, pixels.
        cell: pixels along a side of a cell.
        n_cells: along the axis.
    """
    pixels = range(length)[span]
    first = min(max(int((pixels[0] + 0.5) / cell - 0.5), 0), n_cells - 1)
    last = min(int((pixels[-1] + 0.5) / cell - 0.5) + 1, n_cells - 1)
    shift = first * cell
    return slice(first, last + 1), slice(pixels[0] - shift, pixels[-1] - shift + 1, pixels.step)
