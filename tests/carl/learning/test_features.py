from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.inference import upsample
from carl.learning.features import FeatureMap, FeatureStack


def stack(height: int, width: int, cell: int, seed: int = 0) -> FeatureStack:
    generator = np.random.default_rng(seed)

    def values(size: int, depth: int) -> np.ndarray:
        shape = (-(-height // size), -(-width // size), depth)
        return generator.normal(size=shape).astype(np.float32)

    maps = (FeatureMap("fine", values(1, 2), 1), FeatureMap("coarse", values(cell, 3), cell))
    return FeatureStack((height, width), maps)


sizes = st.integers(1, 40)


@settings(max_examples=40)
@given(sizes, sizes, st.integers(1, 9))
def test_features_at_pixels_are_those_of_the_upsampled_map(height, width, cell):
    features = stack(height, width, cell)
    rows, columns = (each.ravel() for each in np.indices((height, width)))
    whole = upsample(features.maps[1].values, (height, width), cell).reshape(-1, 3)
    np.testing.assert_allclose(features.at(rows, columns)[:, 2:], whole, atol=1e-5)


@settings(max_examples=40)
@given(sizes, sizes, st.integers(1, 9))
def test_scores_are_linear_in_the_features_at_every_pixel(height, width, cell):
    features = stack(height, width, cell)
    generator = np.random.default_rng(1)
    weights, bias = generator.normal(size=(5, 4)), generator.normal(size=4)
    rows, columns = (each.ravel() for each in np.indices((height, width)))
    expected = features.at(rows, columns) @ weights + bias
    scores = features.scores(weights, bias)
    assert scores.shape == (height, width, 4)
    np.testing.assert_allclose(scores.reshape(-1, 4), expected, atol=1e-4)


@settings(max_examples=60)
@given(sizes, sizes, st.integers(1, 9), st.data())
def test_scores_of_a_region_are_those_of_the_whole(height, width, cell, data):
    features = stack(height, width, cell)
    generator = np.random.default_rng(1)
    weights, bias = generator.normal(size=(5, 4)), generator.normal(size=4)
    spans = []
    for length in (height, width):
        start = data.draw(st.integers(0, length - 1))
        stop = data.draw(st.integers(start + 1, length))
        spans.append(slice(start, stop, data.draw(st.integers(1, 7))))
    whole = features.scores(weights, bias)
    np.testing.assert_allclose(
        features.scores(weights, bias, tuple(spans)), whole[tuple(spans)], atol=1e-4
    )


def test_columns_name_the_groups():
    assert stack(4, 5, 2).columns() == {"fine": slice(0, 2), "coarse": slice(2, 5)}


def test_error_variance_is_zero_for_groups_without_one():
    maps = (
        FeatureMap("same camera", np.zeros((1, 1, 2), np.float32), 1),
        FeatureMap("other camera", np.zeros((1, 1, 1), np.float32), 1, np.array([0.4], np.float32)),
    )
    np.testing.assert_allclose(FeatureStack((1, 1), maps).error_variance, [0, 0, 0.4], rtol=1e-6)


def test_normalising_when_reading_equals_normalised_values():
    generator = np.random.default_rng(0)
    raw = generator.normal(size=(7, 9, 3)).astype(np.float32)
    centre, scale = generator.normal(size=(2, 3)).astype(np.float32)
    weights = generator.normal(size=(3, 2)).astype(np.float32)
    rows, columns = (each.ravel() for each in np.indices((14, 18)))
    for cell, shape in ((1, (7, 9)), (2, (14, 18))):
        lazy = FeatureMap("raw", raw, cell, centre=centre, scale=scale)
        done = FeatureMap("normalised", (raw - centre) * scale, cell)
        at = rows < shape[0], columns < shape[1]
        chosen = at[0] & at[1]
        np.testing.assert_array_equal(
            lazy.at(rows[chosen], columns[chosen]), done.at(rows[chosen], columns[chosen])
        )
        region = np.s_[1:6:2, 2:8]
        np.testing.assert_array_equal(
            *(each.apply(lambda values: values @ weights, shape, region) for each in (lazy, done))
        )
