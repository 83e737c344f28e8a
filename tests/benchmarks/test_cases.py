import numpy as np
import pytest
from cases import SPLITS, half_regions, pixel_features, random_pixels


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_training_pixels_are_correct_and_not_tested(split, labels):
    training, test = split(labels, 5, 0)

    assert [np.sum(training == value) for value in (1, 2, 3)] == [5, 5, 5]
    assert (training[training > 0] == labels[training > 0]).all()
    assert not (training * test).any()
    assert (test[test > 0] == labels[test > 0]).all()


def test_draws_depend_on_the_seed_only(labels):
    first, again, other = (random_pixels(labels, 5, seed)[0] for seed in (0, 0, 1))

    assert (first == again).all()
    assert (first != other).any()


def test_other_regions_contain_no_training_pixels(labels):
    training, test = half_regions(labels, 5, 0)

    for columns in np.split(np.arange(48), 6):  # each region is one stripe
        assert not (training[:, columns].any() and test[:, columns].any())


def test_half_of_the_pixels_of_small_classes_are_tested(labels):
    labels[labels == 3] = 0
    labels[0, 1:7] = 3

    training, test = random_pixels(labels, 100, 0)

    assert np.sum(training == 3) == 3
    assert np.sum(test == 3) == 3


def test_features_cover_every_pixel(cube, tiny_model):
    features = pixel_features(cube, tiny_model)

    assert features.shape == (40, 48)
    assert features.maps[0].values.shape[2] == tiny_model.embed_dim
    assert features.at(np.array([0, 39]), np.array([0, 47])).shape == (2, features.width)
