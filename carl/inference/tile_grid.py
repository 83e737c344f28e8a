"""Maps in tiles: layouts with overlap, blending without seams, reading of any rectangle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from carl.arrays import Float32Array
from carl.inference.tile_store import TileStore

_STRIP_BYTES = 8 << 20
"""Bytes of the rows that `TileGrid.strips` assembles at a time."""


class Tile(NamedTuple):
    """Rectangle of a map.

    Attributes:
        rows: of the map.
        columns: of the map.
        weights: (rows, columns) blending weights where tiles overlap; None where none do.
    """

    rows: slice
    columns: slice
    weights: Float32Array | None = None

    @property
    def size(self) -> int:
        """Number of positions."""
        return len(range(self.rows.stop)[self.rows]) * len(range(self.columns.stop)[self.columns])


@dataclass(frozen=True)
class TileGrid:
    """Tiles of a map, which are stored by name.

    Attributes:
        name: of the map; the prefix of the names of its tiles.
        shape: (h, w) of the map.
        tiles: in the order of computation. They cover the map; where they overlap, their weights
            add up to 1.
    """

    name: str
    shape: tuple[int, int]
    tiles: Sequence[Tile]

    def key(self, index: int) -> str:
        """Return the name of a tile in a store."""
        return f"{self.name}-{index:06d}"

    def missing(self, store: TileStore) -> list[int]:
        """Return the indices of the tiles that are not in the store."""
        return [index for index in range(len(self.tiles)) if self.key(index) not in store]

    def fraction_done(self, store: TileStore) -> float:
        """Return the fraction of the map whose tiles are in the store."""
        missing = sum(self.tiles[index].size for index in self.missing(store))
        return 1 - missing / sum(tile.size for tile in self.tiles)

    def read(
        self, store: TileStore, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Float32Array:
        """Assemble a rectangle (rows, columns, D) of the map from the tiles that intersect it."""
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        result: Float32Array | None = None
        for index, tile in enumerate(self.tiles):
            down = slice(max(top, tile.rows.start), min(bottom, tile.rows.stop))
            across = slice(max(left, tile.columns.start), min(right, tile.columns.stop))
            if down.start >= down.stop or across.start >= across.stop:
                continue
            inside = _shift(down, tile.rows.start), _shift(across, tile.columns.start)
            values = store[self.key(index)][inside]
            if tile.weights is not None:
                values = values * tile.weights[inside][..., None]
            if result is None:
                result = np.zeros((bottom - top, right - left, values.shape[-1]), np.float32)
            result[_shift(down, top), _shift(across, left)] += values
        assert result is not None  # the tiles cover the map
        return result

    def strips(self, store: TileStore, depth: int) -> Iterator[Float32Array]:
        """Assemble the map (h, w, D) from top to bottom, some rows (rows, w, D) at a time."""
        height, width = self.shape
        step = max(1, _STRIP_BYTES // (4 * width * depth))
        for top in range(0, height, step):
            yield self.read(store, slice(top, min(top + step, height)))


def _shift(span: slice, start: int) -> slice:
    return slice(span.start - start, span.stop - start)


@dataclass(frozen=True)
class TileLayout:
    """Size and overlap of tiles, in positions of the map.

    Attributes:
        size: longest side of a tile. A map that fits into one tile is not divided.
        overlap: smallest overlap of neighbouring tiles.
        halo: border of a tile that is computed as context only: its weight is 0 where a neighbour
            overlaps. Features whose receptive field is no larger than `halo` are exactly those of
            the whole map.
    """

    size: int = 48
    overlap: int = 16
    halo: int = 4

    def __post_init__(self) -> None:
        """Check that something is left to blend between the halos of two neighbours."""
        if not 0 <= 2 * self.halo < self.overlap < self.size:
            raise ValueError(f"2 × halo < overlap < size does not hold for {self}")


def overlapping_tiles(h: int, w: int, layout: TileLayout = TileLayout()) -> list[Tile]:
    """Return tiles that cover a map of h × w positions, row by row, with blending weights."""
    return [
        Tile(slice(top, top + down.size), slice(left, left + across.size), np.outer(down, across))
        for top, down in tile_weights(h, layout)
        for left, across in tile_weights(w, layout)
    ]


def tile_weights(length: int, layout: TileLayout) -> list[tuple[int, Float32Array]]:
    """Return the start and the weights of each tile along one axis.

    The number of tiles is the smallest possible; they are of equal size, and that is the smallest
    possible. At every position the weights of all tiles add up to 1, so the products of the weights
    of two axes add up to 1 as well.

    Args:
        length: of the axis.
        layout: of the tiles.
    """
    step = layout.size - layout.overlap
    n_tiles = max(1, ceil((length - layout.overlap) / step))
    size = ceil((length + (n_tiles - 1) * layout.overlap) / n_tiles)
    starts = np.linspace(0, length - size, n_tiles).round().astype(int)
    # Weights by distance from an inner edge: 0 in the halo, then sin² up to 1.
    rise = layout.overlap - 2 * layout.halo
    position = np.clip((np.arange(size) - layout.halo + 0.5) / rise, 0, 1)
    ramp = np.sin(np.pi / 2 * position) ** 2
    windows = []
    total = np.zeros(length)
    for start in starts:
        window = np.ones(size)
        if start > 0:
            window *= ramp
        if start + size < length:
            window *= ramp[::-1]
        windows.append((int(start), window))
        total[start : start + size] += window
    return [(at, (window / total[at : at + size]).astype(np.float32)) for at, window in windows]
