"""Tables of wavelengths as instruments and spreadsheets write them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import WavelengthError
from carl.wavelengths import read_wavelength_table


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bands.csv"


@pytest.mark.parametrize(
    ("text", "nm", "fwhm"),
    [
        ("450\n550\n650\n", [450, 550, 650], None),
        ("# made by hand\nband,wavelength_um\n1,0.45\n2,0.55\n", [450, 550], None),
        ("name;centre (nm);fwhm\nblue;450;20\ngreen;550;30\n", [450, 550], [20, 30]),
        ("\ufeff450\r\n550\r\n", [450, 550], None),
        # a column of band numbers, without a header
        ("1, 400\n2, 413\n3, 426\n", [400, 413, 426], None),
        ("1,400\n2,413\n3,426\n", [400, 413, 426], None),
        ("0,400.5\n1,413.5\n", [400.5, 413.5], None),
        ("1 400\n2 413\n", [400, 413], None),
        ("1\t0.40\n2\t0.41\n", [400, 410], None),
        # decimal commas
        ("0,38\n0,39\n0,40\n", [380, 390, 400], None),
        ("wavelength\n400,5\n413,2\n", [400.5, 413.2], None),
        ("Wavelength, nm\n400,5\n413,2\n", [400.5, 413.2], None),
        ("400,5\n413\n425,5\n", [400.5, 413, 425.5], None),
        ("1;400,5\n2;413,5\n", [400.5, 413.5], None),
        ("sep=;\nWellenlänge [nm];Breite\n400,5;10\n413,5;10\n", [400.5, 413.5], None),
        ("wavelength (µm);fwhm\n0,40;0,01\n0,41;0,02\n", [400, 410], [10, 20]),
        ("400,5 10,5\n413,5 10,5\n", [400.5, 413.5], None),
        # units
        ("wavelength\n0.40\n0.41\n", [400, 410], None),
        ("wavelength (um)\n0.40\n0.41\n", [400, 410], None),
        ("wavelength_um,fwhm_nm\n0.40,10\n0.41,20\n", [400, 410], [10, 20]),
        ("wavelength;fwhm\n[µm];[µm]\n0.40;0.01\n0.41;0.02\n", [400, 410], [10, 20]),
        ("wavenumber (cm-1)\n4000\n1000\n", [2500, 10000], None),
        ("Wavenumber\n4000\n1000\n", [2500, 10000], None),
        ("band wavelength_nm\n1 7\n2 8\n", [7, 8], None),
        ("400 nm\n410 nm\n", [400, 410], None),
        ("nm\n400\n410\n", [400, 410], None),
        # other shapes
        ("400,410,420,430\n", [400, 410, 420, 430], None),
        ("Camera A of room B\n\n400\n410\n", [400, 410], None),
        ("400;0.2\n410;0.1\n420;0.3\n", [400, 410, 420], None),
        ("400;\n410;\n", [400, 410], None),
        ('"blue","450.5"\n"green","550.5"\n', [450.5, 550.5], None),
        (
            "first wavelength,centre wavelength,last wavelength\n1,450,500\n2,550,600",
            [450, 550],
            None,
        ),
    ],
)
def test_tables_are_understood(path, text, nm, fwhm):
    path.write_text(text, encoding="utf-8", newline="")
    bands = read_wavelength_table(path)
    np.testing.assert_allclose(bands.wavelengths, nm)
    if fwhm is None:
        assert bands.fwhm is None
    else:
        np.testing.assert_allclose(bands.fwhm, fwhm)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "is empty"),
        (b"red\ngreen\n", "no numbers"),
        (b"\xff\xfe\x00", "bands.csv"),
        (b"450\n\n-3\n", "positive"),
        (b"1\n2\n3\n", "add the unit"),
        (b"wavelength,width\n1,1\n2,1\n3,1\n", "add the unit"),
        (b"400,5\n413,2\n426,9\n", "with decimal points, or name its columns"),
        (b"1,400,5\n2,413,2\n", "with decimal points, or name its columns"),
        (b"400,5,10,2\n413,2,10,2\n", "with decimal points, or name its columns"),
        (b"blue,450,20\ngreen,550,30\n", "with decimal points, or name its columns"),
        (b"485,70\n560,80\n", "wavelength_nm,fwhm_nm"),
        (b"400;700\n410;710\n", "name them in a first line"),
        (b"400\n410;3\n", "same columns in all lines"),
        (b"wavelength\n400\nblue\n", "'blue' has no number"),
        (b"0.4 um\n410 nm\n", "use one of them"),
        (b"400\0\n", "not a text"),
        (b"400\n" * 300_000, "larger than 1 MiB"),
    ],
)
def test_files_that_are_not_clear_are_refused_with_what_to_do(path, content, advice):
    path.write_bytes(content)
    with pytest.raises(WavelengthError, match=r"bands\.csv") as refused:
        read_wavelength_table(path)
    assert advice in str(refused.value)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(WavelengthError, match=r"none\.csv"):
        read_wavelength_table(tmp_path / "none.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders on Windows")
def test_folders_and_pipes_are_refused_at_once(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("folder.csv", "pipe.csv"):
        with pytest.raises(WavelengthError, match=f"{name} is not a file"):
            read_wavelength_table(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_spreadsheets_write_several_encodings(path, encoding):
    path.write_text("wavelength (µm)\n0.40\n0.41\n", encoding=encoding)
    np.testing.assert_allclose(read_wavelength_table(path).wavelengths, [400, 410])


@given(
    wavelengths=st.lists(st.integers(20_001, 1_500_000), min_size=2, max_size=40, unique=True).map(
        sorted
    ),
    in_um=st.booleans(),
    delimiter=st.sampled_from([",", ";", "\t", " "]),
    has_decimal_comma=st.booleans(),
    has_index=st.booleans(),
    has_header=st.booleans(),
    has_widths=st.booleans(),
)
def test_any_table_is_read_as_it_was_written_or_refused(
    tmp_path_factory,
    wavelengths,
    in_um,
    delimiter,
    has_decimal_comma,
    has_index,
    has_header,
    has_widths,
):
    nm = np.array(wavelengths) / 100
    rows = []
    for band, value in enumerate(nm, start=1):
        text = f"{value / 1000:.5f}" if in_um else f"{value:.2f}"
        cells = [text, "0.01" if in_um else "10.5"][: 1 + has_widths]
        rows.append([str(band), *cells] if has_index else cells)
    unit = "um" if in_um else "nm"
    header = ["band"] * has_index + [f"wavelength_{unit}"] + [f"fwhm_{unit}"] * has_widths
    is_one_column = not (has_index or has_header or has_widths)
    is_ambiguous = has_decimal_comma and (delimiter == "," or is_one_column)
    lines = [
        delimiter.join(row).replace(".", ",") if has_decimal_comma else delimiter.join(row)
        for row in rows
    ]
    path = tmp_path_factory.mktemp("tables") / "bands.csv"
    path.write_text("\n".join([delimiter.join(header)] * has_header + lines))

    try:
        bands = read_wavelength_table(path)
    except WavelengthError:
        assert is_ambiguous
    else:
        np.testing.assert_allclose(bands.wavelengths, nm)


@given(
    content=st.one_of(
        st.binary(max_size=200), st.text('0123456789.,;\t \n"µnmwave#=-').map(str.encode)
    )
)
def test_any_file_is_understood_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tables") / "bands.csv"
    path.write_bytes(content)
    try:
        bands = read_wavelength_table(path)
    except WavelengthError as error:
        message = str(error)
    else:
        message = bands.source
        assert np.all(bands.wavelengths > 0)
    assert "bands.csv" in message


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("photon energy (eV)", (2.0, 1.5)),
        ("energy_eV", (2.0, 1.5)),
        ("band;energy_eV", ("1;2", "2;1.5")),
    ],
)
def test_energies_are_converted(path, header, values):
    path.write_text(f"{header}\n" + "\n".join(str(value) for value in values), encoding="utf-8")
    np.testing.assert_allclose(read_wavelength_table(path).wavelengths, [619.92, 826.56], rtol=1e-5)


@pytest.mark.parametrize("header", ["Raman shift (cm-1)", "raman_wavenumber", "RamanShift_cm-1"])
def test_a_column_of_raman_shifts_is_refused(path, header):
    path.write_text(f"{header}\n600\n1200\n", encoding="utf-8")
    with pytest.raises(WavelengthError, match="Raman shifts, which depend on the laser"):
        read_wavelength_table(path)
