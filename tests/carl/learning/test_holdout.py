from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from carl.errors import LabelError
from carl.learning.holdout import split_strokes

LABELS = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 0, 0, 1, 2, 9]),
)


@given(labels=LABELS.filter(np.any), seed=st.integers(0, 5))
def test_parts_sum_to_labels_and_training_keeps_every_class(labels: np.ndarray, seed: int) -> None:
    train, held = split_strokes(labels, seed)
    assert train.dtype == held.dtype == labels.dtype
    assert not np.any((train > 0) & (held > 0))
    np.testing.assert_array_equal(train + held, labels)
    assert set(np.unique(train[train > 0])) == set(np.unique(labels[labels > 0]))


@given(
    columns=st.lists(st.integers(1, 3), min_size=2, max_size=8),
    seed=st.integers(0, 5),
)
def test_strokes_of_similar_size_are_not_cut(columns: list[int], seed: int) -> None:
    labels = np.zeros((9, 6 * len(columns)), np.uint8)
    for i, width in enumerate(columns):
        labels[:, 6 * i : 6 * i + width + 2] = 4
    _, held = split_strokes(labels, seed)
    strokes, n = ndimage.label(labels, structure=np.ones((3, 3)))
    fractions = [(held[strokes == i] > 0).mean() for i in range(1, n + 1)]
    assert set(fractions) == {0.0, 1.0}
    assert 0.1 < (held > 0).sum() / (labels > 0).sum() <= 0.6


def test_large_stroke_is_cut_if_the_other_is_a_dot() -> None:
    labels = np.zeros((30, 60), np.uint8)
    labels[5:25, 5:40] = 1
    labels[2, 55] = 1
    train, held = split_strokes(labels, seed=0)
    assert 0.25 < (held > 0).sum() / (labels > 0).sum() < 0.35
    assert train.any()


def test_single_stroke_is_cut_once_across_its_long_axis() -> None:
    labels = np.zeros((20, 60), np.uint8)
    labels[8:12, 5:55] = 1
    train, held = split_strokes(labels, seed=3)
    columns_train, columns_held = (np.nonzero(part.any(axis=0))[0] for part in (train, held))
    overlap = np.intersect1d(columns_train, columns_held)
    assert overlap.size <= 1
    assert 0.25 < (held > 0).sum() / (labels > 0).sum() < 0.35


def test_split_is_reproducible_by_seed() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[::4, ::4] = 1
    labels[2::4, ::4] = 2
    first, again, other = (split_strokes(labels, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_missing_labels_are_reported() -> None:
    with pytest.raises(LabelError, match="draw some strokes"):
        split_strokes(np.zeros((4, 4), np.uint8))
    with pytest.raises(LabelError, match="label map"):
        split_strokes(np.ones((4, 4)))
