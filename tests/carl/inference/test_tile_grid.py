from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.inference.tile_grid import MemoryChunks, Tile, TileGrid
from carl.inference.tiling import TileLayout, tiles

LAYOUT = TileLayout(6, 3, 1)


def cut(values: np.ndarray) -> tuple[TileGrid, MemoryChunks]:
    """A map in overlapping tiles."""
    h, w, _ = values.shape
    mosaic, chunks = TileGrid("map", (h, w), tiles(h, w, LAYOUT)), MemoryChunks()
    for index, piece in enumerate(mosaic.pieces):
        chunks[mosaic.key(index)] = values[piece.rows, piece.columns]
    return mosaic, chunks


@given(
    rows=st.tuples(st.integers(0, 16), st.integers(1, 17)),
    columns=st.tuples(st.integers(0, 10), st.integers(1, 11)),
)
def test_any_rectangle_is_put_together(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=(17, 11, 2)).astype(np.float32)
    mosaic, chunks = cut(values)
    down, across = slice(rows[0], rows[0] + rows[1]), slice(columns[0], columns[0] + columns[1])
    np.testing.assert_allclose(mosaic.read(chunks, down, across), values[down, across], atol=1e-6)


def test_strips_are_the_map_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    mosaic, chunks = cut(np.random.default_rng(0).normal(size=(17, 11, 2)).astype(np.float32))
    monkeypatch.setattr("carl.inference.tile_grid._STRIP_BYTES", 3 * 4 * 11 * 2)
    strips = list(mosaic.strips(chunks, 2))
    assert [len(strip) for strip in strips] == [3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(strips), mosaic.read(chunks))


def test_what_is_missing_is_known() -> None:
    mosaic = TileGrid(
        "map", (4, 3), [Tile(slice(0, 1), slice(0, 3)), Tile(slice(1, 4), slice(0, 3))]
    )
    chunks = MemoryChunks()
    assert mosaic.missing(chunks) == [0, 1]
    chunks[mosaic.key(0)] = np.zeros((1, 3, 2), np.float32)
    assert mosaic.missing(chunks) == [1]
    assert mosaic.done(chunks) == pytest.approx(1 / 4)
