"""Encode a patch grid too large for one pass, in overlapping tiles blended without a seam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from carl.progress import Progress, no_progress

FloatMap = NDArray[np.float32]


@dataclass(frozen=True)
class TileLayout:
    """How tiles lie on a grid; all lengths in patches.

    Attributes:
        size: side of a tile. A grid that fits into one tile is not cut.
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
    encode: Callable[[FloatMap], FloatMap],
    features: FloatMap,
    layout: TileLayout = TileLayout(),
    progress: Progress = no_progress,
) -> FloatMap:
    """Encode a feature map tile by tile.

    Args:
        encode: maps (t, u, D) to (t, u, E).
        features: (h, w, D).
        layout: of the tiles.
        progress: told after every tile.

    Returns:
        (h, w, E) float32.
    """
    h, w, _ = features.shape
    across = tile_weights(w, layout)
    down = tile_weights(h, layout)
    result: FloatMap | None = None
    done = 0
    for top, row_weights in down:
        for left, column_weights in across:
            rows = slice(top, top + row_weights.size)
            columns = slice(left, left + column_weights.size)
            encoded = encode(features[rows, columns])
            if result is None:
                result = np.zeros((h, w, encoded.shape[-1]), np.float32)
            result[rows, columns] += encoded * np.outer(row_weights, column_weights)[..., None]
            done += 1
            progress(done / (len(down) * len(across)), "Spatial features")
    assert result is not None  # a grid has at least one tile
    return result


def tile_weights(length: int, layout: TileLayout) -> list[tuple[int, FloatMap]]:
    """Tiles along one axis: where each starts, and the weight of each of its positions.

    The weights of all tiles add up to 1 at every position, so products of two axes add up to 1 on
    the grid.

    Args:
        length: of the axis, in patches.
        layout: of the tiles.
    """
    size = min(layout.size, length)
    step = layout.size - layout.overlap
    starts = np.linspace(0, length - size, 1 + max(0, ceil((length - size) / step))).round()
    windows = []
    total = np.zeros(length)
    for start in starts.astype(int):
        window = np.ones(size)
        ramp = _ramp(size, layout)
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
