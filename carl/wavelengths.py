"""Wavelengths in nanometres: units, checks, ranges, tables and presets of known cameras."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from carl.arrays import Float64Array
from carl.errors import WavelengthError
from carl.files import read_text, resource_path

_NM_PER_UNIT = {
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3,
    "mm": 1e6, "millimeter": 1e6,
    "m": 1e9, "meter": 1e9, "metre": 1e9,
    "angstrom": 0.1, "å": 0.1,
}  # fmt: skip
_WAVENUMBER_UNITS = {"cm-1", "cm^-1", "1/cm", "cm⁻¹", "wavenumber"}


def to_nm(values: ArrayLike, unit: str) -> Float64Array:
    """Convert wavelengths, or wavenumbers in cm⁻¹, to nanometres.

    Args:
        values: (C,) numbers in `unit`.
        unit: a name such as ``"nm"``, ``"Micrometers"`` or ``"cm-1"``, in any case, singular or
            plural.

    Raises:
        WavelengthError: the unit is not one of length or wavenumber.
    """
    numbers = np.asarray(values, dtype=np.float64)
    name = unit.strip().lower()
    if name.removesuffix("s") in _WAVENUMBER_UNITS:
        with np.errstate(divide="ignore"):
            return np.asarray(1e7 / numbers)
    factor = _NM_PER_UNIT.get(name, _NM_PER_UNIT.get(name.removesuffix("s")))
    if factor is None:
        raise WavelengthError(
            f"'{unit}' is not a unit of wavelength: use nm, µm, mm, m, Å or cm-1."
        )
    return numbers * factor


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


def parse_range(text: str) -> Float64Array:
    """Parse wavelengths written as ``start:last:step`` in nm, the last one included.

    Examples:
        >>> parse_range("380:400:10")
        array([380., 390., 400.])

    Raises:
        WavelengthError: not three numbers, or a step that does not lead from start to last.
    """
    try:
        start, last, step = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise WavelengthError(
            f"'{text}' is not a range of wavelengths: write start:last:step in nm, as 380:770:10."
        ) from error
    steps = (last - start) / step if step else -1.0
    if not 0 <= steps < 100_000:
        raise WavelengthError(
            f"The range '{text}' holds no wavelengths: write start:last:step in nm, as 380:770:10."
        )
    return check_wavelengths(start + step * np.arange(int(np.floor(steps + 1e-6)) + 1))


def read_wavelength_table(path: str | Path) -> tuple[Float64Array, Float64Array | None]:
    """Read wavelengths and, if present, filter widths (FWHM) from a text table.

    One band per line: either the wavelength alone, or several columns separated by comma,
    semicolon, tab or space below a header. The header has a column with "wavelength" or "centre" in
    its name and may have one with "fwhm" or "width". A unit in its name, as in ``wavelength_um``,
    applies; the default is nm. Lines that start with # are comments.

    Returns:
        wavelengths (C,) in nm, and widths (C,) in nm or None.

    Raises:
        WavelengthError: the file cannot be read as such a table.
    """
    path = Path(path)
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        reason = "" if isinstance(error, UnicodeDecodeError) else f" ({error})"
        raise WavelengthError(
            f"{path.name} cannot be read as text{reason}: give a CSV with one wavelength per line, "
            "in nm."
        ) from error
    rows = list(_split_rows(line for line in lines if line.strip() and not line.startswith("#")))
    if not rows:
        raise WavelengthError(f"{path.name} is empty: give one wavelength per line, in nm.")
    header = None if _is_number(rows[0][-1]) else [cell.lower() for cell in rows.pop(0)]
    column, width_column, unit = _columns(header)
    try:
        values = to_nm([float(row[column]) for row in rows], unit)
        widths = None if width_column is None else [float(row[width_column]) for row in rows]
    except (ValueError, IndexError) as error:
        raise WavelengthError(
            f"{path.name} is not a table of wavelengths: give one per line, in nm."
        ) from error
    try:
        values = check_wavelengths(values)
    except WavelengthError as error:
        raise WavelengthError(f"{path.name}: {error}") from error
    return values, None if widths is None else to_nm(widths, unit)


def _split_rows(lines: Iterable[str]) -> Iterable[list[str]]:
    for line in lines:
        separator = next((mark for mark in ",;\t" if mark in line), None)
        row = next(csv.reader([line], delimiter=separator)) if separator else line.split()
        yield [cell.strip() for cell in row]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _columns(header: list[str] | None) -> tuple[int, int | None, str]:
    """Return the column of the wavelengths, that of the widths, and the unit."""
    if header is None:
        return 0, None, "nm"
    names = ("wavelength", "centre", "center", "lambda", "centroid")
    column = next((i for i, cell in enumerate(header) if any(n in cell for n in names)), 0)
    width = next((i for i, cell in enumerate(header) if "fwhm" in cell or "width" in cell), None)
    words = header[column].replace("(", " ").replace("[", " ").replace("_", " ").split()
    unit = next((word.strip(")]") for word in words if word.strip(")]") in _NM_PER_UNIT), "nm")
    return column, width, unit


@dataclass(frozen=True, eq=False, repr=False)
class Camera:
    """A camera preset: the bands of a known camera.

    Attributes:
        name: short name, as given to ``--camera``.
        description: one line of text.
        wavelengths: (C,) band centres in nm, in the order of the camera's files.
        fwhm: (C,) widths at half maximum in nm, or None where they are not published.

    Examples:
        >>> from carl import camera
        >>> camera("rededge")
        <Camera 'rededge': 5 bands, 475–840 nm>
        >>> camera("rededge").wavelengths
        array([475., 560., 668., 840., 717.])
    """

    name: str
    description: str
    wavelengths: Float64Array
    fwhm: Float64Array | None

    def __repr__(self) -> str:
        nm = self.wavelengths
        return f"<Camera {self.name!r}: {self.n_bands} bands, {nm.min():g}–{nm.max():g} nm>"

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.wavelengths.size)


@cache
def cameras() -> tuple[Camera, ...]:
    """Return all known cameras, sorted by name.

    Examples:
        >>> [each.name for each in cameras()][:3]
        ['enmap', 'hims', 'landsat-7']
    """
    found = []
    for path in sorted(resource_path("cameras").glob("*.csv")):
        first_line = path.read_text(encoding="utf-8").splitlines()[0]  # "# description"
        description = first_line.lstrip("# ").strip()
        found.append(Camera(path.stem, description, *read_wavelength_table(path)))
    return tuple(found)


def camera(name: str) -> Camera:
    """Return the camera of a name, in any case.

    Examples:
        >>> camera("Tivita").n_bands
        100

    Raises:
        WavelengthError: there is no such camera.
    """
    for known in cameras():
        if known.name.lower() == name.strip().lower():
            return known
    names = ", ".join(known.name for known in cameras())
    raise WavelengthError(f"No camera is called '{name}': choose one of {names}.")
