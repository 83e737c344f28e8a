from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import WavelengthError
from carl.wavelengths import (
    camera,
    cameras,
    check_wavelengths,
    parse_range,
    read_wavelength_table,
    to_nm,
)


@pytest.mark.parametrize(
    ("value", "unit", "nm"),
    [
        (550, "nm", 550),
        (0.55, "Micrometers", 550),
        (0.55, "µm", 550),
        (5.5e-7, "m", 550),
        (5500, "Angstroms", 550),
        (4000, "cm-1", 2500),
    ],
)
def test_units_are_converted_to_nm(value, unit, nm):
    assert to_nm([value], unit)[0] == pytest.approx(nm)


def test_an_unknown_unit_is_refused():
    with pytest.raises(WavelengthError, match="'GHz' is not a unit"):
        to_nm([1], "GHz")


@pytest.mark.parametrize(
    "values", [[], [[1, 2]], ["red"], [500, np.nan], [500, -1], [500, 500], [0, 1]]
)
def test_malformed_wavelengths_are_refused(values):
    with pytest.raises(WavelengthError):
        check_wavelengths(values)


def test_any_order_is_valid():
    assert check_wavelengths([475, 840, 717]).tolist() == [475, 840, 717]


@given(st.integers(200, 2000), st.integers(1, 50), st.integers(1, 300))
def test_a_range_includes_its_last_value(start, step, count):
    last = start + step * count
    np.testing.assert_allclose(
        parse_range(f"{start}:{last}:{step}"), np.linspace(start, last, count + 1)
    )


def test_a_range_with_a_fractional_step_includes_its_last_value():
    assert parse_range("400:401:0.1").size == 11


@pytest.mark.parametrize("text", ["380-770", "380:770", "770:380:10", "1:2:0", "a:b:c", "1:9e9:1"])
def test_malformed_ranges_are_refused(text):
    with pytest.raises(WavelengthError, match="start:last:step"):
        parse_range(text)


@pytest.mark.parametrize(
    ("text", "nm", "fwhm"),
    [
        ("450\n550\n650\n", [450, 550, 650], None),
        ("# made by hand\nband,wavelength_um\n1,0.45\n2,0.55\n", [450, 550], None),
        ("name;centre (nm);fwhm\nblue;450;20\ngreen;550;30\n", [450, 550], [20, 30]),
        ("\ufeff450\r\n550\r\n", [450, 550], None),
    ],
)
def test_tables_with_and_without_a_header(tmp_path, text, nm, fwhm):
    path = tmp_path / "bands.csv"
    path.write_text(text, encoding="utf-8", newline="")
    wavelengths, widths = read_wavelength_table(path)
    np.testing.assert_allclose(wavelengths, nm)
    if fwhm is None:
        assert widths is None
    else:
        np.testing.assert_allclose(widths, fwhm)


@pytest.mark.parametrize("content", [b"", b"red\ngreen\n", b"\xff\xfe\x00", b"450\n\n-3\n"])
def test_files_that_are_not_tables_are_refused(tmp_path, content):
    path = tmp_path / "bands.csv"
    path.write_bytes(content)
    with pytest.raises(WavelengthError, match=r"bands\.csv"):
        read_wavelength_table(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(WavelengthError, match=r"none\.csv"):
        read_wavelength_table(tmp_path / "none.csv")


def test_shipped_cameras_have_descriptions_and_matching_widths():
    names = [each.name for each in cameras()]
    assert {"tivita", "sentinel-2a", "hims", "srgb"} <= set(names)
    for each in cameras():
        assert each.description
        assert each.fwhm is None or each.fwhm.shape == each.wavelengths.shape


def test_camera_by_name():
    tivita = camera("Tivita")
    assert tivita.n_bands == 100
    assert tivita.wavelengths[0] == 500
    assert tivita.wavelengths[-1] == pytest.approx(1000)
    with pytest.raises(WavelengthError, match="choose one of"):
        camera("polaroid")
