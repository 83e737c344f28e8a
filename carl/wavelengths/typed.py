"""Wavelengths as people type them: ranges and lists, with or without a unit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from carl.arrays import Float64Array
from carl.errors import WavelengthError
from carl.wavelengths.units import (
    UNIT,
    BandTable,
    check_wavelengths,
    raman_to_nm,
    unit_symbol,
    unusual_wavelengths,
    wavelengths_in_nm,
)

_NUMBER = r"((?:\d++(?:\.(?!\.)\d*+)?|\.\d++)(?:e[+-]?\d++)?)"
"""Without backtracking, so that a long text takes linear time; "400..700" has two numbers."""
_TO = r"\s*(?:-|:|\.{2,3}|…|to|bis)\s*"
_STEP = r"\s*(?::|[,;]?\s*(?:step|by|in steps of))\s*(-?)\s*"
_ENDS = re.compile(rf"{_NUMBER}{_TO}{_NUMBER}")
_STEPS = re.compile(rf"{_NUMBER}{_TO}{_NUMBER}{_STEP}{_NUMBER}")
_DASHES = re.compile("[‐‑‒–—−]")
_DECIMAL_COMMAS = re.compile(r"(?:[^,]|(?<=\d),(?=\d+(?!\d*,\d)))*")
_THOUSANDS = re.compile(r"(?:[^,\d]|(?<!\d)\d{1,3}(?:,\d{3})+(?![\d.,])|(?<!\d)\d++(?!,))*+")

_RAMAN = re.compile(rf"raman(?:\s*shifts?)?(?:[\s,:@]*(?:at|laser)?\s*{_NUMBER}\s*nm(?![^\W_]))?")

_MAX_COUNT = 100_000
"""Largest number of wavelengths of a range."""
_EXAMPLE_FIRST, _EXAMPLE_LAST = 400.0, 1000.0
"""Wavelengths in nm between which examples lie: those of most cameras on silicon."""
_EXAMPLE_STEPS = (100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)


def example_text(n_bands: int) -> str:
    """Return a text that `parse_wavelengths` accepts for a number of bands.

    Examples:
        >>> example_text(40), example_text(224), example_text(1)
        ('400:790:10', '400:846:2', '550')
    """
    if n_bands == 1:
        return "550"
    for step in _EXAMPLE_STEPS:
        last = _EXAMPLE_FIRST + step * (n_bands - 1)
        if last <= _EXAMPLE_LAST:
            return f"{_EXAMPLE_FIRST:g}:{last:.10g}:{step:g}"
    return f"{_EXAMPLE_FIRST:g}-{_EXAMPLE_LAST:g}"


def parse_wavelengths(text: str, n_bands: int | None = None) -> BandTable:
    """Parse wavelengths that were typed.

    A first and a last wavelength are divided equally by the number of bands: ``400-2500``,
    ``0.4–2.5 µm``, ``400:2500``, ``400 to 2500``. With a third number, the step, the last one is
    included: ``380:770:10``. A list has one number per band, separated by spaces, commas or
    semicolons. A unit stands behind any of the numbers; without one, it is recognised by
    `wavelengths_in_nm`. Decimal commas are recognised. Raman shifts need the wavelength of the
    laser: ``600-1800 cm-1 Raman 785 nm``.

    Examples:
        >>> parse_wavelengths("400-2500", 100).describe()
        '100 bands, 400–2500 nm, step 21.2 nm'
        >>> parse_wavelengths("0,38:0,77:0,01").describe()
        '40 bands, 380–770 nm, step 10 nm (given in µm)'

    Args:
        text: the wavelengths.
        n_bands: number of bands of the cube; None if it is unknown.

    Raises:
        WavelengthError: the text is not understood, can be read in two ways, or gives another
            number of wavelengths.
    """
    words = " ".join(_DASHES.sub("-", text).lower().split())
    raman = _RAMAN.search(words)
    words, unit = _without_unit(_RAMAN.sub(" ", words), text)
    read: list[BandTable] = []
    failures: list[WavelengthError] = []
    for reading in _decimal_readings(words):
        try:
            values = _values(reading, text, n_bands)
            if values is not None and raman is not None:
                nm, given_unit = _raman_in_nm(values, raman[1], unit), "cm⁻¹ of Raman shift"
                read.append(BandTable(nm, None, f"'{_shortened(text)}'", given_unit))
            elif values is not None:
                nm, given_unit = wavelengths_in_nm(values, unit)
                read.append(BandTable(nm, None, f"'{_shortened(text)}'", given_unit))
        except WavelengthError as error:
            failures.append(error)
    if read:
        return only_reading(read, f"'{_shortened(text)}'", "with decimal points")
    if failures:
        raise failures[0]
    raise WavelengthError(
        f"'{_shortened(text)}' is not understood: {_forms(n_bands)}, or one number per band."
    )


def only_reading(read: Sequence[BandTable], what: str, how: str) -> BandTable:
    """Return the one way in which wavelengths can be read; usual wavelengths are preferred.

    Args:
        read: the ways, at least one.
        what: the text or the file, for the message.
        how: how to write it so that there is one way, for the message.

    Raises:
        WavelengthError: they differ.
    """
    usual = [each for each in read if not unusual_wavelengths(each.wavelengths)] or list(read)
    first = usual[0]
    for other in usual[1:]:
        same_size = other.wavelengths.size == first.wavelengths.size
        if not same_size or not np.allclose(other.wavelengths, first.wavelengths):
            raise WavelengthError(
                f"{what} can be {first.describe()}, or {other.describe()}: write it {how}."
            )
    return first


def _raman_in_nm(shifts: Float64Array, laser_nm: str | None, unit: str | None) -> Float64Array:
    """Return the wavelengths of Raman shifts, (C,) in nm."""
    if laser_nm is None or unit not in (None, "cm⁻¹"):
        wavelengths_in_nm(shifts, "Raman shift")  # raises the error that asks for the laser
    return check_wavelengths(raman_to_nm(shifts, float(laser_nm or 0)))


def _without_unit(words: str, text: str) -> tuple[str, str | None]:
    """Return words without brackets and units, and the unit or None; `text` is for the message."""
    words = words.strip("[](){} ")
    units = {unit_symbol(unit) for unit in UNIT.findall(words)}
    if len(units) > 1:
        raise WavelengthError(
            f"'{_shortened(text)}' has the units {' and '.join(sorted(units))}: use one of them."
        )
    return UNIT.sub(" ", words).strip(), units.pop() if units else None


def _decimal_readings(words: str) -> Iterator[str]:
    """Yield a text with decimal points: as it is, with decimal commas, with commas of thousands."""
    yield words
    if "," in words:
        if _DECIMAL_COMMAS.fullmatch(words) and not re.search(r"\d\.\d", words):
            yield words.replace(",", ".")
        if _THOUSANDS.fullmatch(words):
            yield words.replace(",", "")


def _values(words: str, text: str, n_bands: int | None) -> Float64Array | None:
    """Return the numbers of a range or a list with decimal points; None if it is neither."""
    if found := _STEPS.fullmatch(words):
        first, last, sign, size = found.groups()
        return _stepped(float(first), float(last), float(sign + size), text, n_bands)
    if found := _ENDS.fullmatch(words):
        return _divided(float(found[1]), float(found[2]), text, n_bands)
    parts = re.split(r" ?[,;] ?| ", words.strip(" ,;"))
    if not all(re.fullmatch(_NUMBER, part) for part in parts):
        return None
    if n_bands is not None and len(parts) != n_bands:
        given = "1 wavelength" if len(parts) == 1 else f"{len(parts)} wavelengths"
        raise WavelengthError(
            f"'{_shortened(text)}' has {given}, but the cube has {_counted(n_bands)}: give one "
            f"number per band, or {_forms(n_bands)}."
        )
    return np.array([float(part) for part in parts])


def _divided(first: float, last: float, text: str, n_bands: int | None) -> Float64Array:
    if n_bands is None:
        raise WavelengthError(
            f"'{_shortened(text)}' has no step, and the number of bands is unknown: write "
            "start:last:step, as 380:770:10."
        )
    if n_bands == 1:
        raise WavelengthError(
            f"'{_shortened(text)}' is a range, but the cube has 1 band: type its wavelength, as "
            f"{example_text(1)}."
        )
    with np.errstate(invalid="ignore"):  # infinite numbers are refused later
        return np.linspace(first, last, n_bands, dtype=np.float64)


def _stepped(
    first: float, last: float, step: float, text: str, n_bands: int | None
) -> Float64Array:
    steps = (last - first) / step if step else -1.0
    if not 0 <= steps < _MAX_COUNT:
        raise WavelengthError(
            f"The range '{_shortened(text)}' holds no wavelengths, or too many: write "
            "start:last:step, as 380:770:10."
        )
    count = int(np.floor(steps + 1e-6)) + 1
    if n_bands is not None and count != n_bands:
        raise WavelengthError(
            f"'{_shortened(text)}' gives {count} wavelengths, but the cube has "
            f"{_counted(n_bands)}: type {first:.10g}-{last:.10g} to divide the range by the bands, "
            f"or another step, as {example_text(n_bands)}."
        )
    return np.asarray(first + step * np.arange(count), np.float64)


def _forms(n_bands: int | None) -> str:
    """Return what to type, for messages."""
    if n_bands == 1:
        return f"type the wavelength of the band, as {example_text(1)}"
    example = example_text(n_bands or 40)
    return f"type the first and the last wavelength, as 400-1000, or start:last:step, as {example}"


def _counted(n_bands: int) -> str:
    return "1 band" if n_bands == 1 else f"{n_bands} bands"


def _shortened(text: str) -> str:
    """Return a text on one line, cut after 40 characters, for messages."""
    words = " ".join(text.split())
    return words if len(words) <= 40 else f"{words[:39]}…"
