from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError


def stored(height: int = 3, width: int = 4, bands: int = 5) -> np.ndarray:
    return np.arange(height * width * bands, dtype=np.int16).reshape(height, width, bands)


def test_read_returns_physical_values_and_nan_for_no_data():
    cube = SpectralCube(stored(), scale=0.5, offset=1.0, nodata=7)
    values = cube.to_numpy()
    assert values.dtype == np.float32
    assert np.isnan(values[0, 1, 2])
    assert values[0, 1, 3] == 8 * 0.5 + 1
    assert np.isnan(values).sum() == 1


def test_a_scale_per_band_applies_to_the_bands_that_are_read():
    cube = SpectralCube(stored(), scale=np.arange(1.0, 6.0))
    block = cube.read(bands=slice(2, 4))
    np.testing.assert_array_equal(block, stored()[..., 2:4] * [3.0, 4.0])


def test_a_spectrum_is_one_pixel_of_the_cube():
    cube = SpectralCube(stored(), scale=2.0)
    np.testing.assert_array_equal(cube.spectrum(2, 1), cube.to_numpy()[2, 1])


@given(st.lists(st.booleans(), min_size=2, max_size=9).filter(any), st.integers(0, 8))
def test_usable_bands_are_the_good_bands_in_order(good, start):
    data = stored(bands=len(good))
    nm = np.linspace(400, 700, len(good))
    usable = SpectralCube(data, wavelengths=nm, good_bands=np.array(good)).usable_bands()
    bands = np.flatnonzero(good)
    np.testing.assert_array_equal(usable.to_numpy(), data[..., bands])
    np.testing.assert_array_equal(usable.wavelengths, nm[bands])
    np.testing.assert_array_equal(
        usable.read(slice(1, 3), bands=slice(start, None)), data[1:3][..., bands[start:]]
    )


def test_no_good_band_is_an_error():
    with pytest.raises(CubeError, match="none is left"):
        SpectralCube(stored(), good_bands=np.zeros(5, bool)).usable_bands()


@pytest.mark.parametrize(
    "data", [np.zeros((3, 4)), np.zeros((0, 4, 5)), np.zeros((2, 2, 2), complex)]
)
def test_arrays_that_are_not_cubes_are_refused(data):
    with pytest.raises(CubeError):
        SpectralCube(data)


def test_wavelengths_are_never_guessed():
    cube = SpectralCube(stored())
    assert cube.wavelengths is None
    with pytest.raises(WavelengthError, match="has no wavelengths"):
        cube.require_wavelengths()


def test_with_wavelengths_checks_their_number():
    with pytest.raises(WavelengthError, match="4 wavelengths were given for 5 bands"):
        SpectralCube(stored()).with_wavelengths([400, 500, 600, 700])
    assert SpectralCube(stored()).with_wavelengths([5, 4, 3, 2, 1]).wavelengths[0] == 5


def test_repr_is_one_line():
    cube = SpectralCube(stored(), wavelengths=[400, 450, 500, 550, 600], name="leaf")
    assert repr(cube) == "<SpectralCube 'leaf': 3 × 4 pixels, 5 bands, 400–600 nm>"
    assert "unknown wavelengths" in repr(SpectralCube(stored()))


def test_repr_html_is_a_table_of_escaped_properties():
    cube = SpectralCube(
        stored(),
        wavelengths=[400, 450, 500, 550, 600],
        good_bands=[True, True, False, True, True],
        name="<leaf>",
        metadata={"path": "a & b.tif"},
    )
    table = cube._repr_html_()
    assert "<caption>&lt;leaf&gt;</caption>" in table
    for name, value in {
        "Size": "3 × 4 pixels",
        "Bands": "5, 1 of them bad",
        "Wavelengths": "400–600 nm",
        "Type": "int16",
        "File": "a &amp; b.tif",
    }.items():
        assert f"<tr><th>{name}</th><td>{value}</td></tr>" in table
    assert "<td>unknown wavelengths</td>" in SpectralCube(stored())._repr_html_()
