"""Units of wavelengths: conversion, recognition, checks, warnings and descriptions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import WavelengthError
from carl.wavelengths import (
    BandTable,
    check_wavelengths,
    describe_wavelengths,
    raman_to_nm,
    to_nm,
    unit_symbol,
    unusual_wavelengths,
    wavelengths_in_nm,
    widths_to_nm,
)


@pytest.mark.parametrize(
    ("value", "unit", "nm", "symbol"),
    [
        (550, "nm", 550, "nm"),
        (0.55, "Micrometers", 550, "µm"),
        (0.55, "µm", 550, "µm"),
        (0.55, "μm", 550, "µm"),
        (5.5e-7, "m", 550, "m"),
        (5500, "Angstroms", 550, "Å"),
        (4000, "cm-1", 2500, "cm⁻¹"),
        (2.0, "eV", 619.921, "eV"),
        (2.0, "Electronvolts", 619.921, "eV"),
    ],
)
def test_units_are_converted_to_nm(value, unit, nm, symbol):
    assert to_nm([value], unit)[0] == pytest.approx(nm)
    assert unit_symbol(unit) == symbol
    assert to_nm([value], symbol)[0] == pytest.approx(nm)


@pytest.mark.parametrize("unit", ["Raman shift", "cm-1 Raman shift", "Raman shift / cm⁻¹"])
def test_raman_shifts_are_never_taken_for_wavenumbers(unit):
    with pytest.raises(WavelengthError, match="Raman shifts, which depend on the laser"):
        wavelengths_in_nm([600, 1800], unit)


def test_raman_shifts_are_relative_to_the_laser():
    np.testing.assert_allclose(raman_to_nm([0, 1000], 785), [785, 1e7 / (1e7 / 785 - 1000)])
    assert raman_to_nm([520.7], 532)[0] == pytest.approx(547.16, abs=0.01)  # silicon


def test_widths_of_energies_are_converted_by_the_slope():
    nm = to_nm([2.0], "eV")
    exact = (to_nm([1.999], "eV") - to_nm([2.001], "eV"))[0]
    assert widths_to_nm([0.002], [2.0], nm)[0] == pytest.approx(exact, rel=1e-5)


def test_an_unknown_unit_is_refused():
    with pytest.raises(WavelengthError, match="'GHz' is not a unit"):
        to_nm([1], "GHz")


@pytest.mark.parametrize(
    ("values", "unit", "expected", "symbol"),
    [
        ([400, 700], None, [400, 700], "nm"),
        ([190, 1100], None, [190, 1100], "nm"),
        ([0.4, 2.5], "", [400, 2500], "µm"),
        ([13.9, 2.5], "unknown", [13900, 2500], "µm"),
        ([400, 700], "Nanometers", [400, 700], "nm"),
        ([0.4, 0.7], "Micrometers", [400, 700], "µm"),
        ([8, 9, 10], "µm", [8000, 9000, 10000], "µm"),
        ([4000, 1000], "cm-1", [2500, 10000], "cm⁻¹"),
    ],
)
def test_wavelengths_are_converted_to_nm(values, unit, expected, symbol):
    nm, found = wavelengths_in_nm(values, unit)
    np.testing.assert_allclose(nm, expected)
    assert found == symbol


@pytest.mark.parametrize(
    "values", [[1, 162], [1, 2, 3], [0, 1], [8, 9, 10], [100, 162], [0.4, 700], [1e5, 2e5], [30.5]]
)
def test_numbers_whose_unit_is_unclear_are_refused(values):
    with pytest.raises(WavelengthError):
        wavelengths_in_nm(values)


@given(st.integers(1, 99))
def test_numbers_of_bands_are_never_wavelengths(n_bands):
    with pytest.raises(WavelengthError, match="add the unit"):
        wavelengths_in_nm(np.arange(1, n_bands + 1))


@pytest.mark.parametrize(
    "values", [[], [[1, 2]], ["red"], [500, np.nan], [500, -1], [500, 500], [0, 1], [10**400]]
)
def test_malformed_wavelengths_are_refused(values):
    with pytest.raises(WavelengthError):
        check_wavelengths(values)


def test_any_order_is_valid():
    assert check_wavelengths([475, 840, 717]).tolist() == [475, 840, 717]


@pytest.mark.parametrize(
    ("nm", "warning"),
    [
        ([200, 15_000], ""),
        ([199, 700], "below 200 nm"),
        ([400, 15_001], "above 15,000 nm"),
    ],
)
def test_unusual_wavelengths_cause_a_warning(nm, warning):
    found = unusual_wavelengths(np.array(nm, float))
    assert warning in found
    assert bool(found) == bool(warning)


@pytest.mark.parametrize(
    ("nm", "line"),
    [
        (np.linspace(400, 2500, 100), "100 bands, 400–2500 nm, step 21.2 nm"),
        ([700, 500, 300], "3 bands, 700–300 nm, step -200 nm"),
        ([400, 500, 800], "3 bands, 400–800 nm, steps of 100 to 300 nm"),
        ([475, 840, 717], "3 bands, 475–840 nm, not in order"),
        ([2000, 5000], "2 bands, 2000–5000 nm, step 3000 nm"),
        ([550], "1 band, 550 nm"),
    ],
)
def test_wavelengths_are_described_in_one_line(nm, line):
    assert describe_wavelengths(np.asarray(nm, float)) == line


def test_the_unit_in_which_bands_were_given_is_described_unless_it_is_nm():
    nm = np.array([400.0, 500.0])
    assert BandTable(nm, None, "x").describe() == "2 bands, 400–500 nm, step 100 nm"
    assert BandTable(nm, None, "x", "µm").describe().endswith("(given in µm)")
