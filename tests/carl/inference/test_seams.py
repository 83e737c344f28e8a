"""No seams where tiles meet, for a network with position encoding and global attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.inference import embed
from carl.inference.tile_grid import TileLayout, overlapping_tiles, tile_weights
from carl.model import CARL

GRID = (112, 40)
Texture = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def steps(features: np.ndarray) -> np.ndarray:
    """Return the mean distance (h − 1,) between each row of patches and the next."""
    return np.linalg.norm(np.diff(features, axis=0), axis=2).mean(axis=1)


def borders(layout: TileLayout) -> np.ndarray:
    """Return (h − 1,) True where tiles overlap, begin or end."""
    where = np.zeros(GRID[0] - 1, bool)
    for start, weights in tile_weights(GRID[0], layout)[1:]:
        where[start - 1 : start + layout.overlap] = True
        assert weights[0] == 0
    return where


@pytest.mark.parametrize(
    "texture",
    [
        lambda random, shape: random.normal(1, 0.1, shape),
        lambda random, shape: np.ones(shape),
        lambda random, shape: 1 + 0.1 * np.indices(shape).sum(axis=0) % 8,
    ],
    ids=["noise", "flat", "stripes"],
)
def test_features_change_no_faster_where_tiles_meet(tiny_model: CARL, texture: Texture) -> None:
    size = tiny_model.patch_size
    shape = GRID[0] * size, GRID[1] * size
    spectrum = np.linspace(1, 2, 5)
    values = texture(np.random.default_rng(0), shape)[..., None] * spectrum
    cube = SpectralCube(values.astype(np.float32), np.linspace(450, 800, 5))
    found = steps(embed(cube, tiny_model, precision="float32").spatial)
    meet = borders(TileLayout())
    assert 0.3 < meet.mean() < 0.5
    assert found[meet].max() <= found[~meet].max()
    assert found[meet].mean() <= found[~meet].mean()


def test_unblended_tiles_have_seams_by_this_measure() -> None:
    layout = TileLayout()
    random = np.random.default_rng(0)
    levels = random.normal(0, 1, (9, 1, 1, 4)).astype(np.float32)
    noise = random.normal(0, 0.1, (*GRID, 4)).astype(np.float32)
    features = noise.copy()
    for number, tile in enumerate(overlapping_tiles(*GRID, layout)):
        features[tile.rows, tile.columns] = noise[tile.rows, tile.columns] + levels[number]
    found, meet = steps(features), borders(layout)
    assert found[meet].max() > 2 * found[~meet].max()
