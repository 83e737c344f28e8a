"""Units of wavelengths, their recognition, checks, and a line that describes a list of bands."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from carl.arrays import Float64Array
from carl.errors import WavelengthError

_NM_PER_UNIT = {
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3,
    "mm": 1e6, "millimeter": 1e6, "millimetre": 1e6,
    "m": 1e9, "meter": 1e9, "metre": 1e9,
    "angstrom": 0.1, "ångström": 0.1, "å": 0.1,
}  # fmt: skip
_NM_OF_ONE = {
    "cm-1": 1e7, "cm^-1": 1e7, "1/cm": 1e7, "cm⁻¹": 1e7, "wavenumber": 1e7,
    "ev": 1239.841984, "electronvolt": 1239.841984,
}  # fmt: skip
"""Wavelengths in nm of a wavenumber of 1 cm⁻¹ and a photon energy of 1 eV (hc, CODATA 2018)."""
_SYMBOLS = {1.0: "nm", 1e3: "µm", 1e6: "mm", 1e9: "m", 0.1: "Å"}
"""Symbols of the units of length, by their size in nm."""
_RECIPROCAL_SYMBOLS = {1e7: "cm⁻¹", 1239.841984: "eV"}
_RAMAN = re.compile(r"raman", re.IGNORECASE)
_NO_UNIT = {"", "unknown", "none", "n/a", "wavelength", "wavelengths"}
"""Words that stand for a missing unit in files."""

_names = "|".join(map(re.escape, sorted((*_NM_PER_UNIT, *_NM_OF_ONE), key=len)[::-1]))
UNIT = re.compile(rf"(?<![^\W\d_])(?:{_names})s?(?![^\W_])", re.IGNORECASE)
"""A unit within a text, such as that in ``400-2500 nm`` and ``wavelength_um``."""

_FIRST_NM, _REACHED_NM, _LAST_NM = 100.0, 200.0, 20_000.0
"""Numbers without a unit are nm, or µm, only if the shortest wavelength is at least the first of
these, the longest at least the second, and none longer than the third: optical cameras from the
ultraviolet to the thermal infrared. The two ranges do not overlap."""
_LARGEST_BAND_NUMBER = 100
"""Whole numbers without a unit below this may be numbers of bands, not µm."""
_USUAL_NM = (200.0, 15_000.0)
"""Wavelengths of the cameras in use; others are accepted with a warning."""


@dataclass(frozen=True, eq=False)
class BandTable:
    """Band centres and widths in nm, as a text, a table, a file or a camera gives them.

    Attributes:
        wavelengths: (C,) band centres in nm.
        fwhm: (C,) widths at half maximum in nm, or None.
        source: where they come from, for messages.
        unit: symbol of the unit in which they were given.
    """

    wavelengths: Float64Array
    fwhm: Float64Array | None
    source: str
    unit: str = "nm"

    def describe(self) -> str:
        """Return one line: number of bands, first and last wavelength, step, and unit if not nm."""
        given = "" if self.unit == "nm" else f" (given in {self.unit})"
        return describe_wavelengths(self.wavelengths) + given


def to_nm(values: ArrayLike, unit: str) -> Float64Array:
    """Convert wavelengths, wavenumbers in cm⁻¹ or photon energies in eV to nanometres.

    Args:
        values: (C,) numbers in `unit`.
        unit: a name such as ``"nm"``, ``"Micrometers"`` or ``"cm-1"``, in any case, singular or
            plural.

    Raises:
        WavelengthError: the unit is not one of length, wavenumber or energy.
    """
    numbers = np.asarray(values, dtype=np.float64)
    factor, is_reciprocal = _size_in_nm(unit)
    with np.errstate(divide="ignore", over="ignore"):  # infinite wavelengths are refused later
        return np.asarray(factor / numbers if is_reciprocal else numbers * factor)


def raman_to_nm(shifts: ArrayLike, laser_nm: float) -> Float64Array:
    """Convert Raman shifts in cm⁻¹ to the wavelengths of the scattered light in nm.

    Examples:
        >>> raman_to_nm([0, 1000], 785).round(1)
        array([785. , 851.9])

    Args:
        shifts: (C,) Stokes shifts, positive for light of longer wavelength.
        laser_nm: wavelength of the laser.
    """
    with np.errstate(divide="ignore"):  # infinite wavelengths are refused later
        return np.asarray(1e7 / (1e7 / laser_nm - np.asarray(shifts, np.float64)))


def unit_symbol(unit: str) -> str:
    """Return the symbol of a unit, such as "µm" for "micrometers".

    Raises:
        WavelengthError: the unit is not one of length, wavenumber or energy.
    """
    factor, is_reciprocal = _size_in_nm(unit)
    return (_RECIPROCAL_SYMBOLS if is_reciprocal else _SYMBOLS)[factor]


def _size_in_nm(unit: str) -> tuple[float, bool]:
    """Return the wavelength in nm of 1 in a unit, and whether a wavelength is divided by numbers.

    It is for wavenumbers and energies, and multiplied by them for lengths.
    """
    name = unit.strip().lower()
    for known in (name, name.removesuffix("s")):
        if known in _NM_OF_ONE:
            return _NM_OF_ONE[known], True
        if known in _NM_PER_UNIT:
            return _NM_PER_UNIT[known], False
    raise WavelengthError(
        f"'{unit}' is not a unit of wavelength: use nm, µm, mm, m, Å, cm-1 or eV."
    )


def widths_to_nm(widths: ArrayLike, centres: ArrayLike, nm: Float64Array) -> Float64Array:
    """Convert (C,) widths in the unit of the (C,) centres, whose wavelengths are `nm`, to nm."""
    # |d(nm)/d(unit)| = nm/unit, both for lengths and for wavenumbers and energies (nm = a / unit).
    return np.asarray(widths, np.float64) * (nm / np.asarray(centres, np.float64))  # exact in nm


def wavelengths_in_nm(values: ArrayLike, unit: str | None = None) -> tuple[Float64Array, str]:
    """Convert wavelengths to nm, and return them with their unit, which is recognised if missing.

    Examples:
        >>> wavelengths_in_nm([0.4, 2.5])
        (array([ 400., 2500.]), 'µm')

    Args:
        values: (C,) numbers.
        unit: their unit; None, empty or "unknown" if it is not stated.

    Raises:
        WavelengthError: they are not wavelengths, or their unit is unclear or unknown. Raman shifts
            are no wavelengths, although they are in cm⁻¹, too.
    """
    numbers = check_wavelengths(values)
    if unit is not None and _RAMAN.search(unit):
        raise WavelengthError(
            f"The numbers {numbers.min():g} to {numbers.max():g} are Raman shifts, which depend on "
            "the laser: type them with its wavelength, as 600-1800 cm-1 Raman 785 nm."
        )
    if unit is None or unit.strip().lower() in _NO_UNIT:
        unit = _recognised_unit(numbers)
    return check_wavelengths(to_nm(numbers, unit)), unit_symbol(unit)


def _recognised_unit(numbers: Float64Array) -> str:
    low, high = float(numbers.min()), float(numbers.max())
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    if high < _LARGEST_BAND_NUMBER and np.all(numbers == np.round(numbers)):
        raise WavelengthError(
            f"The numbers {span} have no unit and may be numbers of bands: add the unit, nm or µm."
        )
    for unit, factor in (("nm", 1.0), ("µm", 1e3)):
        if low * factor >= _FIRST_NM and _REACHED_NM <= high * factor <= _LAST_NM:
            return unit
    raise WavelengthError(
        f"The numbers {span} have no unit and fit neither nm nor µm: add the unit, such as nm, µm "
        "or cm-1."
    )


def check_wavelengths(values: ArrayLike, n_bands: int | None = None) -> Float64Array:
    """Return wavelengths as a (C,) float64 array after checking them.

    Any order is valid: some cameras store their bands out of order.

    Args:
        values: wavelengths in nm.
        n_bands: required number of wavelengths; any if None.

    Raises:
        WavelengthError: not a list of finite positive numbers, all equal, or of another length.
    """
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise WavelengthError(
            "The wavelengths are not numbers: give one per band, in nm."
        ) from error
    if numbers.ndim != 1 or numbers.size == 0:
        raise WavelengthError("The wavelengths are not a list: give one number per band, in nm.")
    if n_bands is not None and numbers.size != n_bands:
        raise WavelengthError(
            f"{numbers.size} wavelengths were given for {n_bands} bands: give one per band."
        )
    if not np.all(np.isfinite(numbers)) or np.any(numbers <= 0):
        raise WavelengthError("The wavelengths must all be positive numbers, in nm.")
    if numbers.size > 1 and np.all(numbers == numbers[0]):
        raise WavelengthError(
            f"All {numbers.size} wavelengths are {numbers[0]:g} nm: give that of each band."
        )
    return numbers


def unusual_wavelengths(nm: Float64Array) -> str:
    """Return a warning about (C,) wavelengths below 200 nm or above 15 000 nm; empty if none is.

    Examples:
        >>> unusual_wavelengths(np.array([1.0, 162.0]))
        'The shortest wavelength is 1 nm, below 200 nm: check the unit.'
    """
    lowest, highest = _USUAL_NM
    if nm.min() < lowest:
        return f"The shortest wavelength is {nm.min():.6g} nm, below 200 nm: check the unit."
    if nm.max() > highest:
        return f"The longest wavelength is {nm.max():.6g} nm, above 15,000 nm: check the unit."
    return ""


def describe_wavelengths(nm: Float64Array) -> str:
    """Describe (C,) wavelengths in one line.

    Examples:
        >>> describe_wavelengths(np.linspace(400, 2500, 100))
        '100 bands, 400–2500 nm, step 21.2 nm'
    """
    if nm.size == 1:
        return f"1 band, {nm[0]:.6g} nm"
    steps = np.diff(nm)
    smallest, largest = float(steps.min()), float(steps.max())
    first, last = float(nm[0]), float(nm[-1])
    if smallest < 0 < largest:
        first, last = float(nm.min()), float(nm.max())
        step = "not in order"
    elif largest - smallest <= 1e-2 * abs(float(steps.mean())):
        step = f"step {_rounded(float(steps.mean()))} nm"
    else:
        step = f"steps of {_rounded(smallest)} to {_rounded(largest)} nm"
    return f"{nm.size} bands, {first:.6g}–{last:.6g} nm, {step}"


def _rounded(step: float) -> str:
    return f"{step:.3g}" if abs(step) < 1000 else f"{step:.0f}"
