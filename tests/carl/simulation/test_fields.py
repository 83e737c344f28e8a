"""Statistics and reproducibility of random fields and shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from carl.simulation.fields import nuclei, ridges, smooth_fields, vessels, voronoi_regions

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@pytest.mark.parametrize("scale", [0.5, 2.0, 6.0])
def test_smooth_fields_have_unit_variance_and_the_right_correlation(scale: float):
    fields = smooth_fields(np.random.default_rng(0), 400, (48, 53), scale)
    assert fields.mean() == pytest.approx(0, abs=0.05)
    assert fields.var() == pytest.approx(1, rel=0.05)
    lag = round(2 * scale)  # white noise through a Gaussian correlates as exp(-lag² / 4 scale²)
    correlation = (fields[:, :, lag:] * fields[:, :, :-lag]).mean()
    assert correlation == pytest.approx(np.exp(-(lag**2) / (4 * scale**2)), abs=0.05)


def test_opposite_edges_of_a_field_are_uncorrelated():
    fields = smooth_fields(np.random.default_rng(0), 400, (32, 32), 4)
    assert abs((fields[:, 0] * fields[:, -1]).mean()) < 0.15


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1), st.floats(0, 20))
def test_patterns_of_every_shape_are_valid_and_reproducible(
    shape: tuple[int, int], seed: int, scale: float
):
    def draw() -> list[np.ndarray]:
        generator = np.random.default_rng(seed)
        return [
            smooth_fields(generator, 2, shape, scale)[1],
            voronoi_regions(generator, shape, 3, 2, 5),
            vessels(generator, shape, 2, 2.0),
            ridges(generator, shape, scale),
            nuclei(generator, shape, np.full(shape, 0.3, np.float32), 2.0),
        ]

    first, second = draw(), draw()
    for one, other in zip(first, second, strict=True):
        assert one.shape == shape
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    for pattern in first[2:]:
        assert pattern.min() >= 0
        assert pattern.max() <= 1


def test_regions_without_waves_are_those_of_the_nearest_point():
    regions = voronoi_regions(np.random.default_rng(3), (40, 30), 5, 0, 5)
    points = np.random.default_rng(3).uniform((0, 0), (40, 30), (5, 2))
    rows, columns = np.mgrid[:40, :30]
    distance = np.hypot(rows[..., None] - points[:, 0], columns[..., None] - points[:, 1])
    assert (regions == distance.argmin(axis=-1)).mean() > 0.999  # float32 ties


def test_vessels_are_connected_and_thin_out():
    drawn = vessels(np.random.default_rng(1), (200, 200), 1, 5.0)
    assert ndimage.label(drawn > 0, structure=np.ones((3, 3)))[1] <= 3  # leaving and coming back
    assert drawn.max() > 0.9
    assert 0.01 < (drawn > 0).mean() < 0.5
    skeleton = drawn[drawn > 0]
    assert np.percentile(skeleton, 20) < 0.5 * skeleton.max()


def test_nuclei_fill_the_requested_fraction():
    density = np.zeros((200, 200), np.float32)
    density[:, 100:] = 0.25
    drawn = nuclei(np.random.default_rng(0), density.shape, density, 3.0)
    assert drawn[:, :90].max() == 0
    assert drawn[:, 100:].mean() == pytest.approx(0.25, abs=0.06)
    count = ndimage.label(drawn[:, 100:] > 0.5)[1]
    assert 20 < count < 250
