from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from carl.inference.tile_grid import Tile, TileGrid, TileLayout, overlapping_tiles, tile_weights
from carl.inference.tile_store import MemoryTiles

LAYOUTS = st.builds(
    lambda halo, more, rest: TileLayout(2 * halo + more + rest, 2 * halo + more, halo),
    halo=st.integers(0, 3),
    more=st.integers(1, 6),
    rest=st.integers(1, 10),
)
SMALL = TileLayout(6, 3, 1)
DEFAULT = TileLayout()


def stored(
    values: np.ndarray,
    layout: TileLayout = SMALL,
    encode: Callable[[np.ndarray], np.ndarray] = lambda tile: tile,
) -> tuple[TileGrid, MemoryTiles]:
    """A map (h, w, D) in overlapping tiles, each of which is encoded."""
    shape = values.shape[0], values.shape[1]
    grid, store = TileGrid("map", shape, overlapping_tiles(*shape, layout)), MemoryTiles()
    for index, tile in enumerate(grid.tiles):
        store[grid.key(index)] = encode(values[tile.rows, tile.columns])
    return grid, store


@given(
    rows=st.tuples(st.integers(0, 16), st.integers(1, 17)),
    columns=st.tuples(st.integers(0, 10), st.integers(1, 11)),
)
def test_read_assembles_any_rectangle(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=(17, 11, 2)).astype(np.float32)
    grid, store = stored(values)
    down, across = slice(rows[0], rows[0] + rows[1]), slice(columns[0], columns[0] + columns[1])
    np.testing.assert_allclose(grid.read(store, down, across), values[down, across], atol=1e-6)


def test_strips_are_equal_to_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, store = stored(np.random.default_rng(0).normal(size=(17, 11, 2)).astype(np.float32))
    monkeypatch.setattr("carl.inference.tile_grid._STRIP_BYTES", 3 * 4 * 11 * 2)
    strips = list(grid.strips(store, 2))
    assert [len(strip) for strip in strips] == [3, 3, 3, 3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(strips), grid.read(store))


def test_missing_tiles() -> None:
    grid = TileGrid("map", (4, 3), [Tile(slice(0, 1), slice(0, 3)), Tile(slice(1, 4), slice(0, 3))])
    store = MemoryTiles()
    assert grid.missing(store) == [0, 1]
    store[grid.key(0)] = np.zeros((1, 3, 2), np.float32)
    assert grid.missing(store) == [1]
    assert grid.fraction_done(store) == pytest.approx(1 / 4)


@given(length=st.integers(1, 200), layout=LAYOUTS)
def test_weights_add_up_to_one_everywhere(length: int, layout: TileLayout) -> None:
    total = np.zeros(length)
    for start, weights in tile_weights(length, layout):
        assert weights.size <= layout.size
        assert (weights >= 0).all()
        total[start : start + weights.size] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), layout=LAYOUTS)
def test_tiles_equal_the_whole_map_if_the_receptive_field_is_within_the_halo(
    h: int, w: int, layout: TileLayout
) -> None:
    def neighbourhood_maximum(features: np.ndarray) -> np.ndarray:
        width = 2 * layout.halo + 1
        return ndimage.maximum_filter(features, (width, width, 1), mode="constant", cval=-9)

    features = np.random.default_rng(h * w).normal(size=(h, w, 2)).astype(np.float32)
    grid, store = stored(features, layout, neighbourhood_maximum)
    np.testing.assert_allclose(grid.read(store), neighbourhood_maximum(features), atol=1e-5)


def test_tiles_of_different_levels_are_blended_without_a_seam() -> None:
    levels = iter(range(9))
    grid, store = stored(
        np.zeros((48, 112, 1), np.float32), DEFAULT, lambda tile: np.full_like(tile, next(levels))
    )
    blended = grid.read(store)[0, :, 0]
    assert blended[0] == 0
    assert blended[-1] == pytest.approx(2)
    assert np.abs(np.diff(blended)).max() < 0.25
    assert (np.diff(blended) >= 0).all()


def test_a_small_map_is_one_tile() -> None:
    (tile,) = overlapping_tiles(48, 31)
    assert tile[:2] == (slice(0, 48), slice(0, 31))
    assert tile.weights is not None
    assert (tile.weights == 1).all()


@pytest.mark.parametrize("wrong", [(8, 8, 1), (8, 4, 2), (8, 4, -1)])
def test_a_layout_without_anything_to_blend_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="halo"):
        TileLayout(*wrong)
