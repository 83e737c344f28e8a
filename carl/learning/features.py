"""Feature maps of a cube at several resolutions, and scores of them for every pixel.

A linear score of bilinearly interpolated features equals the bilinear interpolation of the score.
So coarse maps are never upsampled to the size of the cube: scores are computed of their cells, and
only these few numbers per class are interpolated. Other scores of smooth maps are interpolated in
the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.inference import upsample
from carl.mapped_files import read_mapped

Region = tuple[slice, slice]
"""Rows and columns of pixels; a step of n takes every n-th pixel."""

PixelFunction = Callable[[Float32Array], Float32Array]
"""Maps (..., d) features to (..., K) scores."""

EVERYWHERE: Region = (slice(None), slice(None))
_BLOCK_PIXELS = 1 << 18
"""Pixels whose scores are computed at once: bounds the temporary memory to a few megabytes."""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One group of features of a cube.

    Attributes:
        name: of the group, e.g. ``"texture 6 px"``.
        values: (h, w, d) features in memory or memory-mapped; the centre of cell (0, 0) lies at
            pixel (cell − 1) / 2.
        cell: pixels along a side of a cell; 1 for one value per pixel.
        error_variance: (d,) relative error variance of each feature, due to a camera other than the
            one of the training cubes; None for none.
        centre: (d,) subtracted from the values when they are read; None if it has been.
        scale: (d,) multiplied to the centred values when they are read; None if it has been.
    """

    name: str
    values: Float32Array
    cell: int
    error_variance: Float32Array | None = None
    centre: Float32Array | None = None
    scale: Float32Array | None = None

    @property
    def width(self) -> int:
        """Number of features d."""
        return int(self.values.shape[2])

    def read(self, rows: slice, columns: slice) -> Float32Array:
        """Return the normalised features of a rectangle of cells."""
        return self._normalised(read_mapped(self.values[rows, columns]))

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float32Array:
        """Return features at pixels, (n, d), interpolated as `carl.inference.upsample` does."""
        if self.cell == 1:
            return self._normalised(self.values[rows, columns])
        top, bottom, down = self._between(rows, self.values.shape[0])
        left, right, across = self._between(columns, self.values.shape[1])
        upper_left, upper_right, lower_left, lower_right = (
            self._normalised(self.values[y, x])
            for y, x in ((top, left), (top, right), (bottom, left), (bottom, right))
        )
        upper = upper_left * (1 - across) + upper_right * across
        lower = lower_left * (1 - across) + lower_right * across
        return np.asarray(upper * (1 - down) + lower * down, np.float32)

    def apply(
        self, function: PixelFunction, shape: tuple[int, int], region: Region
    ) -> Float32Array:
        """Apply a function to the features of the pixels of a region.

        The function maps (..., d) features to (..., K) scores, and `shape` is (H, W) of the cube;
        the result is (rows, columns, K). Scores of coarse cells are interpolated.
        """
        if self.cell == 1:
            return np.asarray(function(self.read(*region)), np.float32)
        cells, inside = zip(
            *(
                _needed(span, length, self.cell, n_cells)
                for span, length, n_cells in zip(region, shape, self.values.shape[:2], strict=True)
            ),
            strict=True,
        )
        ends = (inside[0].stop, inside[1].stop)
        return upsample(function(self.read(*cells)), ends, self.cell, *inside)

    def _normalised(self, values: Float32Array) -> Float32Array:
        if self.centre is None or self.scale is None:
            return values
        values = values - self.centre
        values *= self.scale
        return values

    def _between(
        self, pixels: NDArray[np.intp], n_cells: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32Array]:
        position = np.clip((pixels + 0.5) / self.cell - 0.5, 0, n_cells - 1)
        before = position.astype(np.intp)
        after = np.minimum(before + 1, n_cells - 1)
        return before, after, (position - before).astype(np.float32)[:, None]


@dataclass(frozen=True, eq=False)
class FeatureStack:
    """All feature groups of one cube, or of a rectangle of it.

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
        """Size of the features in bytes, in memory and on disk."""
        return sum(each.values.nbytes for each in self.maps)

    @property
    def width(self) -> int:
        """Number of features p."""
        return sum(each.width for each in self.maps)

    @property
    def error_variance(self) -> Float32Array:
        """(p,) relative error variance of each feature; 0 for groups without one."""
        return np.concatenate(
            [
                np.zeros(each.width, np.float32)
                if each.error_variance is None
                else each.error_variance
                for each in self.maps
            ]
        )

    def columns(self) -> dict[str, slice]:
        """Return the columns of each group in `at`, by name of the group."""
        stops = np.cumsum([each.width for each in self.maps]).tolist()
        starts = [0, *stops[:-1]]
        return {
            each.name: slice(*ends) for each, *ends in zip(self.maps, starts, stops, strict=True)
        }

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float32Array:
        """Return features of pixels, (n, p)."""
        return np.concatenate([each.at(rows, columns) for each in self.maps], axis=1)

    def select(self, names: Container[str]) -> FeatureStack:
        """Return the groups of these names, which are shared and not copied."""
        return replace(self, maps=tuple(each for each in self.maps if each.name in names))

    def scores(
        self,
        weights: NDArray[np.floating],
        bias: NDArray[np.floating],
        region: Region = EVERYWHERE,
    ) -> Float32Array:
        """Compute the linear scores ``features @ weights + bias`` of the pixels of a region.

        Weights are (p, K), the bias is (K,), and the result is (rows, columns, K) float32.
        """
        functions = {
            name: partial(_linear, weights[where].astype(np.float32))
            for name, where in self.columns().items()
        }
        return self.sum_of(functions, bias, region)

    def sum_of(
        self,
        functions: Mapping[str, PixelFunction],
        bias: NDArray[np.floating],
        region: Region = EVERYWHERE,
    ) -> Float32Array:
        """Compute scores of the pixels of a region, as sums of functions of the feature groups.

        Args:
            functions: by name of the group, from (..., d) features to (..., K) scores.
            bias: (K,) added to the sum.
            region: rows and columns.

        Returns:
            (rows, columns, K) float32.
        """
        rows, columns = (range(n)[span] for n, span in zip(self.shape, region, strict=True))
        groups = [(each, functions[each.name]) for each in self.maps if each.name in functions]
        result = np.empty((len(rows), len(columns), len(bias)), np.float32)
        result[:] = bias
        step = max(1, _BLOCK_PIXELS // max(len(columns), 1))
        for top in range(0, len(rows), step):
            block = rows[top : top + step]
            here = (slice(block.start, block.stop, block.step), region[1])
            for each, function in groups:
                result[top : top + step] += each.apply(function, self.shape, here)
        return result


def _linear(weights: Float32Array, values: Float32Array) -> Float32Array:
    return np.asarray(values @ weights)


def grid_windows(shape: tuple[int, ...], side: int) -> list[Region]:
    """Cut (height, width, …) pixels into squares of a side, row by row; border ones are smaller."""
    height, width = shape[:2]
    return [
        (slice(top, min(top + side, height)), slice(left, min(left + side, width)))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def _needed(span: slice, length: int, cell: int, n_cells: int) -> tuple[slice, slice]:
    """Return the cells that a span of pixels is interpolated from, and the span relative to them.

    `length` pixels of an axis have `n_cells` cells of `cell` pixels.
    """
    pixels = range(length)[span]
    first = min(max(int((pixels[0] + 0.5) / cell - 0.5), 0), n_cells - 1)
    last = min(int((pixels[-1] + 0.5) / cell - 0.5) + 1, n_cells - 1)
    shift = first * cell
    return slice(first, last + 1), slice(pixels[0] - shift, pixels[-1] - shift + 1, pixels.step)
