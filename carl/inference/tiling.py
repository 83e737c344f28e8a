"""Encode a patch grid too large for one pass, in overlapping tiles blended without a seam."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from carl.inference.tile_grid import FloatMap, Tile


@dataclass(frozen=True)
class TileLayout:
    """How tiles lie on a grid; all lengths in patches.

    Attributes:
        size: longest side of a tile. A grid that fits into one tile is not cut.
        overlap: the least that neighbouring tiles share.
        halo: rim of a tile that is computed as context and thrown away where a neighbour takes
            over. Features that look no further than `halo` are exactly those of the whole grid.
    """

    size: int = 48
    overlap: int = 16
    halo: int = 4

    def __post_init__(self) -> None:
        """Check that neighbours meet: beyond both halos something must be left to blend."""
        if not 0 <= 2 * self.halo < self.overlap < self.size:
            raise ValueError(f"2 × halo < overlap < size does not hold for {self}")


def tiles(h: int, w: int, layout: TileLayout = TileLayout()) -> list[Tile]:
    """Tiles that cover a grid of h × w patches, row by row, and their weights."""
    return [
        Tile(
            slice(top, top + down.size),
            slice(left, left + across.size),
            np.outer(down, across),
        )
        for top, down in tile_weights(h, layout)
        for left, across in tile_weights(w, layout)
    ]


def tile_weights(length: int, layout: TileLayout) -> list[tuple[int, FloatMap]]:
    """Tiles along one axis: where each starts, and the weight of each of its positions.

    There are as few as can be, all of the same size, and that as small as can be. The weights of
    all tiles add up to 1 at every position, so products of two axes add up to 1 on the grid.

    Args:
        length: of the axis, in patches.
        layout: of the tiles.
    """
    step = layout.size - layout.overlap
    n_tiles = max(1, ceil((length - layout.overlap) / step))
    size = ceil((length + (n_tiles - 1) * layout.overlap) / n_tiles)
    starts = np.linspace(0, length - size, n_tiles).round().astype(int)
    ramp = _ramp(size, layout)
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


def _ramp(size: int, layout: TileLayout) -> NDArray[np.float64]:
    """Weight against the distance from an inner edge: 0 in the halo, a smooth rise, then 1."""
    rise = layout.overlap - 2 * layout.halo
    share = np.clip((np.arange(size) - layout.halo + 0.5) / rise, 0, 1)
    return np.asarray(np.sin(np.pi / 2 * share) ** 2)
