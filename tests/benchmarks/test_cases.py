import numpy as np
import pytest
from cases import PROTOCOLS, half_regions, pixel_features, random_pixels


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_painted_pixels_are_true_and_not_scored(protocol, labels):
    painted, truth = protocol(labels, 5, 0)

    assert [np.sum(painted == value) for value in (1, 2, 3)] == [5, 5, 5]
    assert (painted[painted > 0] == labels[painted > 0]).all()
    assert not (painted * truth).any()
    assert (truth[truth > 0] == labels[truth > 0]).all()


def test_draws_differ_by_seed_and_repeat(labels):
    first, again, other = (random_pixels(labels, 5, seed)[0] for seed in (0, 0, 1))

    assert (first == again).all()
    assert (first != other).any()


def test_other_regions_are_regions_nothing_was_painted_in(labels):
    painted, truth = half_regions(labels, 5, 0)

    for columns in np.split(np.arange(48), 6):  # each region is one stripe
        assert not (painted[:, columns].any() and truth[:, columns].any())


def test_small_classes_keep_half_of_their_pixels_to_score_on(labels):
    labels[labels == 3] = 0
    labels[0, 1:7] = 3

    painted, truth = random_pixels(labels, 100, 0)

    assert np.sum(painted == 3) == 3
    assert np.sum(truth == 3) == 3


def test_features_are_all_there_is_and_of_every_pixel(cube, tiny_model):
    features = pixel_features(cube, tiny_model)

    assert features.shape == (40, 48)
    assert features.maps[0].values.shape[2] == tiny_model.embed_dim
    assert features.at(np.array([0, 39]), np.array([0, 47])).shape == (2, features.width)
