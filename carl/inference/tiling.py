"""Encode a patch grid too large for one pass, in overlapping tiles blended without a seam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carl.progress import Progress, no_progress

FloatMap = NDArray[np.float32]


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


def encode_in_tiles(
    encode: Callable[[Iterable[FloatMap]], Iterable[FloatMap]],
    features: FloatMap,
    layout: TileLayout = TileLayout(),
    progress: Progress = no_progress,
) -> FloatMap:
    """Encode a feature map tile by tile.

    Args:
        encode: maps tiles (t, u, D), as it asks for them, to (t, u, E), in order.
        features: (h, w, D).
        layout: of the tiles.
        progress: told after every tile.

    Returns:
        (h, w, E) float32.
    """
    h, w, _ = features.shape
    tiles = _tiles(h, w, layout)
    encoded_tiles = encode(features[tile.rows, tile.columns] for tile in tiles)
    result: FloatMap | None = None
    for i, (tile, encoded) in enumerate(zip(tiles, encoded_tiles, strict=True)):
        if result is None:
            result = np.zeros((h, w, encoded.shape[-1]), np.float32)
        result[tile.rows, tile.columns] += encoded * tile.weights[..., None]
        progress((i + 1) / len(tiles), "Spatial features")
    assert result is not None  # a grid has at least one tile
    return result


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


class _Tile(NamedTuple):
    rows: slice
    columns: slice
    weights: FloatMap


def _tiles(h: int, w: int, layout: TileLayout) -> list[_Tile]:
    return [
        _Tile(
            slice(top, top + down.size),
            slice(left, left + across.size),
            np.outer(down, across),
        )
        for top, down in tile_weights(h, layout)
        for left, across in tile_weights(w, layout)
    ]


def _ramp(size: int, layout: TileLayout) -> NDArray[np.float64]:
    """Weight against the distance from an inner edge: 0 in the halo, a smooth rise, then 1."""
    rise = layout.overlap - 2 * layout.halo
    share = np.clip((np.arange(size) - layout.halo + 0.5) / rise, 0, 1)
    return np.asarray(np.sin(np.pi / 2 * share) ** 2)
