from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from carl.inference.upsampling import upsample


@given(
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    cut=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    patch_size=st.sampled_from([4, 5, 8]),
)
def test_is_the_interpolation_of_torch(
    grid: tuple[int, int], cut: tuple[int, int], patch_size: int
) -> None:
    features = np.random.default_rng(0).normal(size=(*grid, 3)).astype(np.float32)
    full = grid[0] * patch_size, grid[1] * patch_size
    shape = full[0] - cut[0], full[1] - cut[1]
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(features).permute(2, 0, 1)[None], size=full, mode="bilinear"
    )[0].permute(1, 2, 0)
    result = upsample(features, shape, patch_size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected[: shape[0], : shape[1]], atol=1e-5)


@given(start=st.integers(0, 20), stop=st.integers(0, 25))
def test_blocks_of_rows_are_rows_of_the_whole(start: int, stop: int) -> None:
    features = np.random.default_rng(1).normal(size=(5, 3, 2)).astype(np.float32)
    whole = upsample(features, (19, 11), 4)
    rows = slice(start, stop)
    np.testing.assert_array_equal(upsample(features, (19, 11), 4, rows), whole[rows])
