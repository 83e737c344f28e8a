from __future__ import annotations

import numpy as np
import pytest

from carl.inference.pca import pca_picture


def features(h: int = 9, w: int = 7, depth: int = 12) -> np.ndarray:
    random = np.random.default_rng(5)
    hidden = random.normal(size=(h, w, 3)) * [5, 2, 1]
    return (hidden @ random.normal(size=(3, depth))).astype(np.float32)


def test_image_has_the_shape_of_the_cube_and_uses_its_range() -> None:
    picture = pca_picture(features(), (70, 51), 8)
    assert picture.shape == (70, 51, 3)
    assert picture.dtype == np.float32
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert (picture.max(axis=(0, 1)) > 0.9).all()


def test_first_component_is_that_of_a_singular_value_decomposition() -> None:
    table = features().reshape(-1, 12).astype(np.float64)
    table = (table - table.mean(0)) / table.std(0)
    first = np.linalg.svd(table, full_matrices=False)[0][:, 0]
    picture = pca_picture(features(), (9, 7), 1)[..., 0].ravel()
    assert abs(np.corrcoef(first, picture)[0, 1]) > 0.99


def test_the_same_features_give_the_same_colours() -> None:
    first = pca_picture(features(), (72, 56), 8)
    np.testing.assert_array_equal(first, pca_picture(features(), (72, 56), 8))
    turned = pca_picture(features()[::-1, ::-1], (72, 56), 8)
    np.testing.assert_allclose(first, turned[::-1, ::-1], atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 12])
def test_a_map_without_variance_is_black(depth: int) -> None:
    picture = pca_picture(np.full((3, 3, depth), 4.0, np.float32), (24, 24), 8)
    assert not picture.any()


def test_an_outlier_does_not_reduce_the_contrast() -> None:
    outlier = features(20, 20)
    outlier[0, 0] *= 1000
    picture = pca_picture(outlier, (20, 20), 1)
    assert picture[5:, 5:, 0].std() > 0.05
