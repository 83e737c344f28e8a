from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.spectra import normalise
from carl.spectra.normalise import (
    band_weights,
    check_pixels,
    cube_statistics,
    fill_missing,
    optical_density,
    sample_pixels,
    sample_spectra,
    white_level,
)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(1, 400))
def test_row_blocks_cover_every_row_once(height, width, bands, values):
    cube = SpectralCube(np.ones((height, width, bands)))
    rows = [row for block in cube.row_blocks(values) for row in range(height)[block]]
    assert rows == list(range(height))


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 60))
def test_statistics_do_not_depend_on_the_blocks(seed, block):
    generator = np.random.default_rng(seed)
    data = generator.normal(1e4, 3, (7, 5, 3))
    data[generator.random(data.shape) < 0.2] = np.nan
    data[0, 0, 0] = 1e4
    cube = SpectralCube(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalise, "_STATISTICS_VALUES", block)
        mean, std = cube_statistics(cube)
    known = cube.to_numpy()[np.isfinite(data)].astype(np.float64)
    assert mean == pytest.approx(known.mean(), rel=1e-7)
    assert std == pytest.approx(known.std(), rel=1e-4, abs=1e-3)


def test_bands_are_weighted_by_their_spacing():
    even = 400 * 1.1 ** np.arange(8)
    shape = np.random.default_rng(0).uniform(1, 2, (5, 6, 8))
    crowded = np.sort(np.concatenate([even, even[2:3] * [1.001, 0.999, 1.002]]))
    index = np.abs(crowded[:, None] - even).argmin(axis=1)
    mean, std = cube_statistics(SpectralCube(shape, even))
    assert (mean, std) == pytest.approx((shape.mean(), shape.std()), rel=1e-6)
    assert cube_statistics(SpectralCube(shape[..., index], crowded)) == pytest.approx(
        (mean, std), rel=0.01
    )
    weights = band_weights(SpectralCube(shape[..., [0, 0, 1, 2]], [500.0, 500, 550, 605]))
    assert weights[0] == weights[1] == pytest.approx(weights[2] / 2, rel=1e-6)
    assert band_weights(SpectralCube(shape)).tolist() == [1] * 8


def test_bad_bands_do_not_change_the_statistics():
    data = np.stack([np.full((4, 4), 2.0), np.full((4, 4), 1e6)], axis=2)
    assert cube_statistics(SpectralCube(data, good_bands=[True, False])) == (2.0, 0.0)


def test_statistics_of_missing_values_are_an_error():
    empty = SpectralCube(np.full((4, 4, 3), np.nan), name="blank.hdr")
    with pytest.raises(CubeError, match=r"blank\.hdr"):
        cube_statistics(empty)
    with pytest.raises(CubeError, match=r"blank\.hdr"):
        white_level(empty)


def test_sampled_spectra_are_neighbouring_pixels():
    data = np.arange(20 * 30 * 2.0).reshape(20, 30, 2)
    here, beside = sample_spectra(SpectralCube(data), 100)
    inside = here[:, 0] % 60 < 58
    np.testing.assert_array_equal(beside[inside] - here[inside], 2)
    assert len(here) >= 100
    assert len(np.unique(here[:, 0] // 60)) == 20


def test_the_white_level_is_bright_and_scales_with_the_cube():
    data = np.random.default_rng(0).uniform(0.1, 1.0, (50, 60, 1)).repeat(5, axis=2)
    white = white_level(SpectralCube(data))
    assert 0.97 < white <= 1.0
    assert white_level(SpectralCube(data * 4000)) == pytest.approx(4000 * white, rel=1e-5)


def test_optical_density_of_values_between_black_and_white():
    values = np.array([[2.0, 0.2, 0.0, -5.0, np.nan]], np.float32)
    density = optical_density(values, white=2.0)
    expected = -np.log([1.02, 0.12, 0.02, 0.02, np.nan])
    np.testing.assert_allclose(density[0], expected, rtol=1e-6)
    assert density.dtype == np.float32
    assert values[0, 0] == 2.0


@given(
    spectra=hnp.arrays(
        np.float32, (6, 5), elements=st.sampled_from([1.0, 2.0, 3.0, np.nan, np.inf])
    ),
    order=st.permutations(range(5)),
)
def test_missing_values_are_filled_from_the_nearest_band(
    spectra: np.ndarray, order: list[int]
) -> None:
    wavelengths = np.array([400.0, 410, 430, 470, 550])[order]
    filled = spectra.copy()
    fill_missing(filled, wavelengths)
    for pixel, result in zip(spectra, filled, strict=True):
        good = np.isfinite(pixel)
        for band in range(5):
            distance = np.where(good, np.abs(wavelengths - wavelengths[band]), np.inf)
            nearest = pixel[distance == distance.min()] if good.any() else [0]
            assert result[band] in nearest


def test_all_pixels_of_a_small_cube_are_sampled() -> None:
    pixels = np.random.default_rng(0).random((7, 9, 3), np.float32)
    assert np.array_equal(sample_pixels(SpectralCube(pixels)), pixels.reshape(-1, 3))


@pytest.mark.parametrize("shape", [(2000, 1000, 2), (5, 100_000, 2), (100_000, 5, 2), (1, 1, 2)])
def test_a_sample_is_small_and_spread_over_the_cube(shape: tuple[int, int, int]) -> None:
    rows, columns = np.indices(shape[:2])
    sample = sample_pixels(SpectralCube(np.stack([rows, columns], axis=-1)), 4096)
    assert len(sample) <= 4 * 4096
    assert sample[:, 0].max() == shape[0] - 1
    assert np.unique(sample[:, 1]).size > min(shape[1], 400) // 2


def test_check_pixels_finds_one_finite_value() -> None:
    pixels = np.full((500, 400, 4), np.nan, np.float32)
    cube = SpectralCube(pixels, name="dark")
    with pytest.raises(CubeError, match="dark has no pixel with a finite value"):
        check_pixels(cube)
    pixels[333, 3, 3] = 0
    check_pixels(cube)


def test_check_pixels_refuses_a_cube_without_data() -> None:
    with pytest.raises(CubeError):
        check_pixels(SpectralCube(np.zeros((5, 6, 4), np.uint8), nodata=0))


@pytest.mark.parametrize("step", [2, 4])
def test_the_white_level_of_scattered_pixels_is_that_of_the_pixels(step: int) -> None:
    values = np.random.default_rng(0).random((30, 40, 5), np.float32)
    scattered = np.full_like(values, np.nan)
    scattered[:, ::step] = values[:, ::step]
    nm = np.linspace(450, 700, 5)
    assert white_level(SpectralCube(scattered, nm)) == pytest.approx(
        white_level(SpectralCube(values[:, ::step], nm)), rel=0.05
    )
    here, beside = sample_spectra(SpectralCube(scattered, nm), 100)
    row, column = np.argwhere(values[..., 0] == here[0, 0])[0]
    assert np.array_equal(beside[0], values[row, min(column + step, 40 - step)])


def test_few_pixels_with_data_are_found() -> None:
    values = np.full((300, 400, 3), np.nan, np.float32)
    values[17, 23] = 0.5
    values[250, 399] = 0.7
    here, beside = sample_spectra(SpectralCube(values, np.array([450.0, 550.0, 650.0])), 1000)
    assert sorted(here[:, 0]) == pytest.approx([0.5, 0.7])
    assert np.array_equal(here, beside)
