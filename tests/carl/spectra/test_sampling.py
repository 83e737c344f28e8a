"""A cheap look at a cube."""

from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.spectra.normalise import check_pixels, sample_pixels


def test_a_small_cube_is_sampled_whole() -> None:
    pixels = np.random.default_rng(0).random((7, 9, 3), np.float32)
    assert np.array_equal(sample_pixels(SpectralCube(pixels)), pixels.reshape(-1, 3))


@pytest.mark.parametrize("shape", [(2000, 1000, 2), (5, 100_000, 2), (100_000, 5, 2), (1, 1, 2)])
def test_a_sample_is_small_and_spread(shape: tuple[int, int, int]) -> None:
    rows, columns = np.indices(shape[:2])
    sample = sample_pixels(SpectralCube(np.stack([rows, columns], axis=-1)), 4096)
    assert len(sample) <= 4 * 4096
    assert sample[:, 0].max() == shape[0] - 1
    assert np.unique(sample[:, 1]).size > min(shape[1], 400) // 2


def test_one_finite_value_anywhere_is_enough() -> None:
    pixels = np.full((500, 400, 4), np.nan, np.float32)
    cube = SpectralCube(pixels, name="dark")
    with pytest.raises(CubeError, match="dark has no pixel with a finite value"):
        check_pixels(cube)
    pixels[333, 3, 3] = 0
    check_pixels(cube)


def test_a_cube_of_nothing_but_no_data_has_no_pixels() -> None:
    with pytest.raises(CubeError):
        check_pixels(SpectralCube(np.zeros((5, 6, 4), np.uint8), nodata=0))
