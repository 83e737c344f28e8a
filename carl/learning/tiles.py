"""Features of a cube rectangle by rectangle, the same as of the whole, for cubes of any size.

A tile that is read with a margin as wide as its neighbourhoods reach has, inside, the features of
the whole cube. It begins where cells and patches begin, so that these are the same ones, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import lcm
from typing import NamedTuple

import numpy as np

from carl.cube import SpectralCube
from carl.inference import Embedding
from carl.learning.component_reader import ComponentReader, PixelComponents
from carl.learning.features import FeatureStack, Region
from carl.learning.space import FeatureSpace
from carl.mapped_files import read_mapped
from carl.progress import Progress, subprogress

_ROWS, _COLUMNS = 384, 1024
"""Pixels of a tile without its margin, about: a few hundred megabytes with all features, and few
enough in the margin."""


class FeatureTile(NamedTuple):
    """A rectangle of a cube, and its features.

    Attributes:
        region: rows and columns of the cube.
        inside: the same pixels, counted from the first one of `stack`.
        stack: features of the rectangle and of a margin around it.
    """

    region: Region
    inside: Region
    stack: FeatureStack


def feature_tiles(
    cube: SpectralCube, space: FeatureSpace, embedding: Embedding | None, progress: Progress
) -> Iterator[FeatureTile]:
    """Tiles that cover a cube, each computed when it is asked for. Every pixel is read once.

    Args:
        cube: of any camera.
        space: of the features.
        embedding: of the cube, in memory or mapped; None for a space without a model.
        progress: told often; cancels by raising.

    Raises:
        WavelengthError: the cube does not cover what the space was learned from.
        CubeError: the cube has no usable values.
    """
    bank = space.bank
    reader = bank.reader(cube)
    alignment = lcm(*bank.cells, 1 if embedding is None else embedding.patch_size)
    margin = _round_up(bank.reach, alignment)
    height, width, _ = cube.shape
    bands = _spans(height, _round_up(_ROWS, alignment))
    spans = _spans(width, _round_up(_COLUMNS, alignment))
    pixels = _Strip(reader)
    for number, rows in enumerate(bands):
        of_band = subprogress(progress, number / len(bands), (number + 1) / len(bands))
        down = _with_margin(rows, margin, height)
        pixels.move_to(down, subprogress(of_band, 0.0, 0.3))
        for index, columns in enumerate(spans):
            across = _with_margin(columns, margin, width)
            share = subprogress(of_band, *(0.3 + 0.7 * n / len(spans) for n in (index, index + 1)))
            stack = bank.stack_of(pixels.columns(across), reader.view.error_variance, share)
            stack = space.stack(stack, _cropped(embedding, down, across))
            yield FeatureTile((rows, columns), (_moved(rows, down), _moved(columns, across)), stack)
    progress(1.0, "Map ready")


class _Strip:
    """Some rows of a cube as components; those that are there are not read again."""

    def __init__(self, reader: ComponentReader) -> None:
        self._reader = reader
        height_and_width = (0, reader.cube.shape[1])
        n_components = reader.view.basis.shape[1]
        self._rows = slice(0, 0)
        self._values = np.empty((*height_and_width, n_components), np.float32)
        self._valid = np.empty(height_and_width, bool)

    def move_to(self, rows: slice, progress: Progress) -> None:
        """Go down to rows that begin among, or right after, those that are there."""
        kept = slice(rows.start - self._rows.start, None)
        new = self._reader.read(slice(self._rows.stop, rows.stop), progress)
        valid = np.ones(new.values.shape[:2], bool) if new.valid is None else new.valid
        self._values = np.concatenate([self._values[kept], new.values])
        self._valid = np.concatenate([self._valid[kept], valid])
        self._rows = rows

    def columns(self, columns: slice) -> PixelComponents:
        """A copy of some columns: features are scaled in place."""
        valid = self._valid[:, columns]
        return PixelComponents(self._values[:, columns].copy(), None if valid.all() else valid)


def _cropped(embedding: Embedding | None, rows: slice, columns: slice) -> Embedding | None:
    """The embedding of a rectangle that begins where patches do."""
    if embedding is None:
        return None
    size = embedding.patch_size
    at = tuple(slice(each.start // size, -(-each.stop // size)) for each in (rows, columns))
    return replace(
        embedding,
        spatial=read_mapped(embedding.spatial[at]),
        spectral=read_mapped(embedding.spectral[at]),
        shape=(rows.stop - rows.start, columns.stop - columns.start),
    )


def _spans(length: int, step: int) -> list[slice]:
    """An axis in pieces of `step`; the last one is up to half as long again."""
    starts = range(0, max(length - step // 2, 1), step)
    return [slice(at, length if at == starts[-1] else at + step) for at in starts]


def _with_margin(span: slice, margin: int, length: int) -> slice:
    return slice(max(0, span.start - margin), min(length, span.stop + margin))


def _moved(span: slice, outer: slice) -> slice:
    return slice(span.start - outer.start, span.stop - outer.start)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
