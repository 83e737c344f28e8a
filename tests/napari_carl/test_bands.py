"""Editing wavelengths and bad bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import WavelengthError
from napari_carl import bands


def cube(nm=(700, 720, 740, 760, 780), name="scan"):
    pixels = np.zeros((2, 3, 5), np.float32)
    return SpectralCube(pixels, nm, name=name)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("720-760, 775", [720, 740, 760, 780]),
        ("760 – 720 nm", [720, 740, 760]),
        ("731", [740]),
        ("700; 780", [700, 780]),
        ("", []),
    ],
)
def test_bad_bands_by_wavelength(text, bad):
    edited = bands.with_bad_bands(cube(), text)
    assert edited.wavelengths[~edited.good_bands].tolist() == bad


def test_bad_bands_by_number_where_wavelengths_are_unknown():
    assert bands.with_bad_bands(cube(None), "2-3, 5").good_bands.tolist() == [1, 0, 0, 1, 0]


@pytest.mark.parametrize("text", ["blue", "720-", "400-500", "0-9999", "1e3"])
def test_invalid_bands_are_refused(text):
    with pytest.raises(WavelengthError):
        bands.with_bad_bands(cube(), text)


@given(st.lists(st.booleans(), min_size=5, max_size=5).filter(any), st.permutations(range(5)))
def test_described_bad_bands_can_be_entered_again(good, order):
    nm = np.array([700.0, 720, 740, 760, 780])[list(order)]
    known = bands.with_bad_bands(cube(nm), "")
    for band in np.flatnonzero(~np.array(good)):
        known = bands.with_band_toggled(known, band)
    again = bands.with_bad_bands(cube(nm), bands.describe_bad_bands(known))
    np.testing.assert_array_equal(again.good_bands, good)


def test_a_band_is_toggled_unless_it_is_the_last_good_one():
    edited = bands.with_band_toggled(cube(), 2)
    assert not edited.good_bands[2]
    assert bands.with_band_toggled(edited, 2).good_bands.all()

    last = bands.with_bad_bands(cube(), "700-760")
    with pytest.raises(WavelengthError, match="All bands"):
        bands.with_band_toggled(last, 4)


def test_typed_cells_become_bands():
    found = bands.bands_of_cells([("400", "5"), ("410,5", "6")])
    assert found.wavelengths.tolist() == [400, 410.5]
    assert found.fwhm.tolist() == [5, 6]
    assert bands.bands_of_cells([("400", ""), ("410", " ")]).fwhm is None


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([("400", ""), ("", "")], "'' is not the wavelength of band 2"),
        ([("-1", ""), ("410", "")], "'-1' is not the wavelength of band 1"),
        ([("400", "5"), ("410", "")], "'' is not the width of band 2"),
        ([("nan", ""), ("410", "")], "'nan' is not the wavelength of band 1"),
        ([("400", ""), ("400", "")], "All 2 wavelengths are 400 nm"),
    ],
)
def test_cells_that_are_no_bands_are_refused(cells, message):
    with pytest.raises(WavelengthError, match=message):
        bands.bands_of_cells(cells)


def test_other_cubes_with_as_many_bands_are_offered():
    cube = SpectralCube(np.ones((2, 2, 3)))
    known = SpectralCube(np.ones((4, 4, 3)), [400, 500, 600])
    others = [cube, known, SpectralCube(np.ones((2, 2, 4)), [1e3, 2e3, 3e3, 4e3])]
    assert bands.cubes_to_copy(cube, others) == (known,)
    assert bands.bands_of_cube(cube, known).wavelengths.tolist() == [400, 500, 600]
    with pytest.raises(WavelengthError, match="has 4 bands"):
        bands.bands_of_cube(cube, others[2])
