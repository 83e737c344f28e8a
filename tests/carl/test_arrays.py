from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carl.arrays import mirror_indices


@given(st.integers(2, 9), st.integers(0, 30), st.integers(0, 30))
def test_mirror_indices_pad_like_numpy(length: int, before: int, after: int) -> None:
    indices = mirror_indices(np.arange(-before, length + after), length)
    np.testing.assert_array_equal(indices, np.pad(np.arange(length), (before, after), "reflect"))


def test_an_axis_of_one_pixel_is_repeated() -> None:
    assert mirror_indices(np.arange(-2, 3), 1).tolist() == [0] * 5
