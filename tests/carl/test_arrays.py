from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.arrays import check_arrays, mirror_indices


@given(st.integers(2, 9), st.integers(0, 30), st.integers(0, 30))
def test_mirror_indices_pad_like_numpy(length: int, before: int, after: int) -> None:
    indices = mirror_indices(np.arange(-before, length + after), length)
    np.testing.assert_array_equal(indices, np.pad(np.arange(length), (before, after), "reflect"))


def test_an_axis_of_one_pixel_is_repeated() -> None:
    assert mirror_indices(np.arange(-2, 3), 1).tolist() == [0] * 5


AXES = {"mean": "D", "basis": "D k", "covariance": "D D"}


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("mean", np.zeros(3), r"basis has the shape \(4, 2\)"),
        ("mean", np.zeros((4, 1)), "mean has the shape"),
        ("basis", np.zeros((4, 0)), "basis has the shape"),
        ("covariance", np.zeros((4, 5)), "covariance has the shape"),
        ("covariance", np.full((4, 4), np.nan), "covariance holds values"),
        ("basis", np.full((4, 2), "x"), "basis holds values"),
    ],
)
def test_arrays_of_a_file_fit_each_other(name: str, values: np.ndarray, words: str) -> None:
    arrays = {"mean": np.zeros(4), "basis": np.zeros((4, 2)), "covariance": np.eye(4)}
    assert check_arrays(arrays, AXES) == {"D": 4, "k": 2}
    with pytest.raises(ValueError, match=words):
        check_arrays({**arrays, name: values}, AXES)
