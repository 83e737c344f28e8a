"""Wavelengths as people type them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import WavelengthError
from carl.wavelengths import example_text, parse_wavelengths


@pytest.mark.parametrize(
    ("text", "n_bands", "line"),
    [
        ("400-2500", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400–2500", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400 — 2500nm", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400:2500", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400..2500", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400 to 2500", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400 nm - 2500 nm", 100, "100 bands, 400–2500 nm, step 21.2 nm"),
        ("0.4-2.5 µm", 100, "100 bands, 400–2500 nm, step 21.2 nm (given in µm)"),
        ("0.4-2.5", 100, "100 bands, 400–2500 nm, step 21.2 nm (given in µm)"),
        ("0,4-2,5 um", 100, "100 bands, 400–2500 nm, step 21.2 nm (given in µm)"),
        ("1,200-2,500 nm", 14, "14 bands, 1200–2500 nm, step 100 nm"),
        ("2500-400", 22, "22 bands, 2500–400 nm, step -100 nm"),
        ("380:770:10", 40, "40 bands, 380–770 nm, step 10 nm"),
        ("380:770:10 nm", 40, "40 bands, 380–770 nm, step 10 nm"),
        ("380-770 step 10", 40, "40 bands, 380–770 nm, step 10 nm"),
        ("770:380:-10", 40, "40 bands, 770–380 nm, step -10 nm"),
        ("0.38:0.77:0.01", 40, "40 bands, 380–770 nm, step 10 nm (given in µm)"),
        ("400, 410, 420", 3, "3 bands, 400–420 nm, step 10 nm"),
        ("400,410,420", 3, "3 bands, 400–420 nm, step 10 nm"),
        ("[400; 410; 420]", 3, "3 bands, 400–420 nm, step 10 nm"),
        ("400\t410\n420", 3, "3 bands, 400–420 nm, step 10 nm"),
        ("400,5 410,5 420,5", 3, "3 bands, 400.5–420.5 nm, step 10 nm"),
        ("400,410", 2, "2 bands, 400–410 nm, step 10 nm"),
        ("550", 1, "1 band, 550 nm"),
        ("4000-1000 cm-1", 2, "2 bands, 2500–10000 nm, step 7500 nm (given in cm⁻¹)"),
        ("1-162 nm", 162, "162 bands, 1–162 nm, step 1 nm"),
    ],
)
def test_what_people_type_is_understood(text, n_bands, line):
    assert parse_wavelengths(text, n_bands).describe() == line


@pytest.mark.parametrize(
    ("text", "n_bands", "advice"),
    [
        ("", 8, "400:750:50"),
        ("blue", 8, "400:750:50"),
        ("400-", 8, "400:750:50"),
        ("a:b:c", None, "start:last:step"),
        ("400-2500", None, "start:last:step, as 380:770:10"),
        ("770:380:10", None, "start:last:step"),
        ("400:500:0", None, "start:last:step"),
        ("1:9e9:1", None, "start:last:step"),
        ("380:770:10", 100, "type 380-770 to divide the range by the bands"),
        ("400:1000:100", 100, "cube has 100 bands: type 400-1000"),
        ("400, 410", 3, "give one number per band"),
        ("550", 3, "type the first and the last wavelength"),
        ("400-700", 1, "type its wavelength, as 550"),
        ("1:162:1", 162, "add the unit"),
        ("1, 2, 3", 3, "add the unit"),
        ("0.4 µm - 700 nm", 3, "use one of them"),
        ("400,410", None, "with decimal points"),
        ("0-700 nm", 3, "positive"),
        ("550-550", 3, "give that of each band"),
        ("1e999-2e999", 3, "positive"),
    ],
)
def test_what_is_wrong_or_ambiguous_is_refused_with_what_to_type(text, n_bands, advice):
    with pytest.raises(WavelengthError) as refused:
        parse_wavelengths(text, n_bands)
    assert advice in str(refused.value)


@given(st.integers(1, 100_000))
def test_the_example_is_valid_for_any_number_of_bands(n_bands):
    bands = parse_wavelengths(example_text(n_bands), n_bands)
    assert bands.wavelengths.size == n_bands
    assert bands.wavelengths.min() >= 400
    assert bands.wavelengths.max() <= 1000


@given(st.integers(200, 2000), st.integers(1, 50), st.integers(1, 300))
def test_a_range_includes_its_last_value(start, step, count):
    last = start + step * count
    np.testing.assert_allclose(
        parse_wavelengths(f"{start}:{last}:{step}").wavelengths, np.linspace(start, last, count + 1)
    )


def test_a_range_with_a_fractional_step_includes_its_last_value():
    assert parse_wavelengths("400:401:0.1").wavelengths.size == 11


@dataclass(frozen=True)
class Axis:
    """Evenly spaced wavelengths, exactly as they are written."""

    first: Decimal
    step: Decimal
    n_bands: int
    unit: str

    @property
    def values(self):
        return [self.first + self.step * band for band in range(self.n_bands)]

    @property
    def nm(self):
        factor = 1000 if "m" in self.unit and self.unit != "nm" else 1
        return [float(value) * factor for value in self.values]


@st.composite
def axes(draw):
    """An axis from 200 to 15 000 nm with up to three decimals, in nm or µm."""
    unit = draw(st.sampled_from(["nm", "nanometers", "µm", "um", "Micrometers"]))
    in_nm = unit.startswith("n")
    exponent = Decimal(10) ** -draw(st.integers(0, 3))
    scale = 1 if in_nm else 1000
    n_bands = draw(st.integers(2, 120))
    smallest = int(Decimal(200) / scale / exponent) + 1
    largest = int(Decimal(15_000) / scale / exponent)
    if largest - smallest < n_bands:
        n_bands = max(2, largest - smallest)
    first = draw(st.integers(smallest, largest - n_bands + 1))
    step = draw(st.integers(1, max(1, (largest - first) // (n_bands - 1))))
    kind = "nm" if in_nm else unit
    return Axis(first * exponent, step * exponent, n_bands, kind), unit


@given(
    axes(),
    st.sampled_from(["-", "–", " - ", ":", " to ", "…", "::", "; ", " ", ";", "\n", ", ", "step"]),
    st.sampled_from([".", ","]),
    st.booleans(),
    st.booleans(),
)
def test_any_axis_in_any_way_of_writing_parses_to_itself(
    written, way, decimal_mark, has_unit, has_space
):
    axis, unit = written
    values = axis.values
    first, last = str(values[0]), str(values[-1])
    if way in ("::", "step"):
        between = (":", ":") if way == "::" else ("-", " step ")
        text = f"{first}{between[0]}{last}{between[1]}{axis.step}"
    elif way in ("; ", " ", ";", "\n", ", "):
        text = way.join(map(str, values))
    else:
        text = f"{first}{way}{last}"
    if way != ", ":
        text = text.replace(".", decimal_mark)
    if has_unit:
        text += f"{' ' * has_space}{unit}"
    may_be_band_numbers = max(values) < 100 and not any(value % 1 for value in values)
    if not has_unit and may_be_band_numbers:
        return  # refused: see the test of numbers of bands

    np.testing.assert_allclose(parse_wavelengths(text, axis.n_bands).wavelengths, axis.nm)


@given(st.integers(1, 99), st.sampled_from(["1:{0}:1", "0:{0}:1", "list"]))
def test_numbers_of_bands_are_refused_without_a_unit(n_bands, way):
    listed = " ".join(str(band + 1) for band in range(n_bands))
    text = listed if way == "list" else way.format(n_bands)
    with pytest.raises(WavelengthError):
        parse_wavelengths(text)
    if way != "0:{0}:1":
        assert parse_wavelengths(f"{text} nm").wavelengths.tolist() == list(range(1, n_bands + 1))


@given(
    st.one_of(st.text(max_size=60), st.text("0123456789.,;:- –…\t\nenmµtop[]^/", max_size=60)),
    st.one_of(st.none(), st.integers(1, 200)),
)
def test_any_text_is_understood_or_refused_in_one_sentence(text, n_bands):
    try:
        bands = parse_wavelengths(text, n_bands)
    except WavelengthError as error:
        message = str(error)
    else:
        message = bands.describe()
        assert n_bands is None or bands.wavelengths.size == n_bands
        assert np.all(bands.wavelengths > 0)
    assert "\n" not in message


@pytest.mark.parametrize("part", ["1", ",", " ", "1,", "1.", "1:", "111,", "-", ";", "1 ", "nm"])
def test_long_texts_take_linear_time(part):
    text = part * (20_000 // len(part)) + "x"
    start = perf_counter()
    with pytest.raises(WavelengthError):
        parse_wavelengths(text)
    assert perf_counter() - start < 5


def test_energies_are_understood():
    found = parse_wavelengths("3.1-1.24 eV", 3)
    np.testing.assert_allclose(found.wavelengths, 1239.841984 / np.array([3.1, 2.17, 1.24]))
    assert found.unit == "eV"


@pytest.mark.parametrize(
    "text",
    ["600-1800 cm-1 Raman 785 nm", "600–1800 Raman shift at 785nm", "600:1800:400 raman, 785 nm"],
)
def test_raman_shifts_need_the_laser(text):
    found = parse_wavelengths(text, 4)
    np.testing.assert_allclose(
        found.wavelengths, 1e7 / (1e7 / 785 - np.array([600, 1000, 1400, 1800]))
    )
    assert "Raman" in found.describe()


@pytest.mark.parametrize("text", ["600-1800 cm-1 Raman", "600-1800 µm Raman 785 nm"])
def test_raman_shifts_without_laser_or_in_another_unit_are_refused(text):
    with pytest.raises(WavelengthError, match="Raman"):
        parse_wavelengths(text, 4)
