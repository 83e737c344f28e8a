from __future__ import annotations

import numpy as np
import pytest

from carl.errors import LabelError
from carl.pretraining.probing import patch_labels, probe, split_in_space

RNG = np.random.default_rng(0)


def clusters(n: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    labels = 1 + np.arange(n) % 3
    centres = np.eye(3, 8)[labels - 1]
    return (centres + RNG.normal(0, spread, (n, 8))).astype(np.float32), labels


def test_separate_clusters_are_told_apart_and_noise_is_not() -> None:
    sharp = probe(clusters(120, 0.05), clusters(90, 0.05), neighbours=5)
    assert sharp == {"knn": 1, "knn_accuracy": 1, "linear": 1, "linear_accuracy": 1}
    features, labels = clusters(300, 0.05)
    noise = probe((RNG.normal(size=features.shape), labels), (features, labels), neighbours=5)
    assert noise["linear"] < 0.7


def test_it_is_quick_on_many_samples_and_says_when_there_are_too_few() -> None:
    scores = probe(clusters(9000, 0.1), clusters(9000, 0.1), neighbours=20)
    assert scores["knn"] > 0.95
    features, labels = clusters(6, 0.1)
    with pytest.raises(LabelError, match="too few labels to probe on"):
        probe((features, np.ones(6, int)), (features, labels), neighbours=1)


def test_patches_have_the_label_of_most_of_their_pixels() -> None:
    labels = np.zeros((9, 8), np.uint8)
    labels[:4, :4] = 1  # all of the first patch
    labels[:4, 4:6] = 2  # half of the second
    labels[4:8, :1] = 3  # a quarter
    labels[8:] = 4  # a row of a patch that is cut off
    assert patch_labels(labels, 4).tolist() == [[1, 2], [0, 0], [0, 0]]


def test_training_and_test_patches_lie_in_alternating_squares() -> None:
    features = np.dstack(np.indices((16, 12))).astype(np.float32)
    labels = np.ones((16, 12), int)
    labels[0, 0] = 0
    (first, _), (second, _) = split_in_space(features, labels)
    assert len(first) + len(second) == 16 * 12 - 1
    assert not {tuple(place) for place in first} & {tuple(place) for place in second}
    assert {(row // 4 + column // 4) % 2 for row, column in first} == {0}
