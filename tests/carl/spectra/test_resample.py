from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import WavelengthError
from carl.spectra.resample import (
    filter_matrix,
    interpolation_matrix,
    resampling_matrix,
    wavelength_grid,
)

bands = st.lists(st.floats(400, 900), min_size=1, max_size=30, unique=True).map(np.array)


@given(bands, bands)
def test_flat_spectra_stay_flat(wavelengths, target):
    for make in (resampling_matrix, interpolation_matrix):
        np.testing.assert_allclose(make(wavelengths, np.sort(target)).sum(axis=0), 1, rtol=1e-5)
    width = np.full(target.size, 30.0)
    grid = np.sort(wavelengths)
    np.testing.assert_allclose(filter_matrix(grid, target, width).sum(axis=0), 1, rtol=1e-5)


@given(bands)
def test_resampling_to_the_same_bands_changes_nothing(wavelengths):
    matrix = resampling_matrix(wavelengths, np.sort(wavelengths))
    np.testing.assert_allclose(wavelengths @ matrix, np.sort(wavelengths), rtol=1e-5)


def test_straight_lines_are_interpolated_exactly():
    nm = np.array([500.0, 400.0, 600.0])
    values = 2 * nm @ interpolation_matrix(nm, np.array([380.0, 450.0, 575.0, 700.0]))
    np.testing.assert_allclose(values, [800, 900, 1150, 1200], rtol=1e-6)


def test_a_narrow_line_between_target_wavelengths_contributes():
    nm = np.arange(400.0, 701.0, 5.0)
    line = (nm == 475).astype(float)
    assert (line @ resampling_matrix(nm, np.array([400.0, 450.0, 500.0, 700.0]))).sum() > 0.05


def test_bands_of_equal_wavelength_share_its_weight():
    matrix = interpolation_matrix(np.array([500.0, 500.0, 600.0]), np.array([500.0]))
    np.testing.assert_allclose(matrix[:, 0], [0.5, 0.5, 0])


def test_a_gaussian_filter_widens_a_gaussian_line():
    nm = np.arange(400.0, 801.0)
    line = np.exp(-4 * np.log(2) * ((nm - 600) / 30) ** 2)
    centres = np.arange(500.0, 701.0, 1.0)
    seen = line @ filter_matrix(nm, centres, np.full(centres.size, 40.0))
    above = centres[seen >= seen.max() / 2]
    assert np.ptp(above) == pytest.approx(50, abs=2)


def test_the_grid_has_the_bands_of_the_densest_camera_in_the_shared_range():
    rich, poor = np.arange(400.0, 801.0, 10.0)[::-1], np.array([450.0, 600.0, 750.0])
    np.testing.assert_array_equal(wavelength_grid([poor, rich]), np.arange(450.0, 751.0, 10.0))
    np.testing.assert_array_equal(wavelength_grid([poor]), poor)


def test_cameras_without_a_shared_range_are_refused():
    with pytest.raises(WavelengthError, match="share no range"):
        wavelength_grid([np.array([400.0, 500.0]), np.array([900.0, 1000.0])])
