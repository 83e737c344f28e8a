from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from carl.inference.tile_grid import MemoryChunks, TileGrid
from carl.inference.tiling import TileLayout, tile_weights, tiles

LAYOUTS = st.builds(
    lambda halo, more, rest: TileLayout(2 * halo + more + rest, 2 * halo + more, halo),
    halo=st.integers(0, 3),
    more=st.integers(1, 6),
    rest=st.integers(1, 10),
)

DEFAULT = TileLayout()


def encode_in_tiles(
    encode: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    layout: TileLayout = DEFAULT,
) -> np.ndarray:
    """(h, w, D) features encoded tile by tile, and blended."""
    shape = features.shape[0], features.shape[1]
    mosaic, chunks = TileGrid("tiles", shape, tiles(*shape, layout)), MemoryChunks()
    for index, piece in enumerate(mosaic.pieces):
        chunks[mosaic.key(index)] = encode(features[piece.rows, piece.columns])
    return mosaic.read(chunks)


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
def test_tiles_are_the_whole_where_the_view_is_as_wide_as_the_halo(
    h: int, w: int, layout: TileLayout
) -> None:
    def look_around(features: np.ndarray) -> np.ndarray:
        wide = 2 * layout.halo + 1
        return ndimage.maximum_filter(features, (wide, wide, 1), mode="constant", cval=-9)

    features = np.random.default_rng(h * w).normal(size=(h, w, 2)).astype(np.float32)
    tiled = encode_in_tiles(look_around, features, layout)
    np.testing.assert_allclose(tiled, look_around(features), atol=1e-5)


def test_no_seam_where_every_tile_has_a_level_of_its_own() -> None:
    """Tiles that disagree, as a global attention makes them, must pass smoothly into each other."""

    levels = iter(range(9))
    blended = encode_in_tiles(
        lambda tile: np.full_like(tile, next(levels)), np.zeros((48, 112, 1), np.float32)
    )[0, :, 0]
    assert blended[0] == 0
    assert blended[-1] == pytest.approx(2)
    assert np.abs(np.diff(blended)).max() < 0.25
    assert (np.diff(blended) >= 0).all()


def test_a_small_grid_is_encoded_whole() -> None:
    (tile,) = tiles(48, 31)
    assert tile[:2] == (slice(0, 48), slice(0, 31))
    assert tile.weights is not None
    assert (tile.weights == 1).all()


@pytest.mark.parametrize("wrong", [(8, 8, 1), (8, 4, 2), (8, 4, -1)])
def test_a_layout_without_anything_to_blend_is_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="halo"):
        TileLayout(*wrong)
