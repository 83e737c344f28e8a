"""Presets of known cameras: those that are shipped, and those in the folder of the user.

A camera is a table of its bands, as `read_wavelength_table` reads it, named after the camera. The
comment in its first line describes the camera; a comment ``# filter array: 4 x 4, first cell at row
0, column 0`` declares a snapshot camera, whose bands are listed cell by cell, row by row.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from carl.arrays import Float64Array
from carl.errors import CarlWarning, WavelengthError
from carl.files import resource_path
from carl.user_folders import cameras_folder
from carl.wavelengths.tables import read_wavelength_table, table_comments

_FILTER_ARRAY = re.compile(
    r"filter array: (\d+) x (\d+)(?:, first cell at row (\d+), column (\d+))?"
)
_MAX_CAMERAS = 500
"""Most tables that are read of the user's folder."""


@dataclass(frozen=True)
class FilterArray:
    """Arrangement of the filters of a snapshot camera, which repeats over its detector.

    Attributes:
        rows: rows of cells that repeat.
        columns: columns of cells that repeat.
        first_row: row of the frame in which the first complete pattern starts.
        first_column: column of the frame in which it starts.
    """

    rows: int
    columns: int
    first_row: int = 0
    first_column: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Camera:
    """A camera preset: the bands of a known camera.

    Attributes:
        name: short name, as given to ``--camera``.
        description: one line of text.
        wavelengths: (C,) band centres in nm, in the order of the camera's files.
        fwhm: (C,) widths at half maximum in nm, or None where they are not published.
        filter_array: arrangement of the filters of a snapshot camera, whose cells the bands are,
            row by row; None for other cameras.

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
    filter_array: FilterArray | None = None

    def __repr__(self) -> str:
        nm = self.wavelengths
        return f"<Camera {self.name!r}: {self.n_bands} bands, {nm.min():g}–{nm.max():g} nm>"

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.wavelengths.size)


def cameras() -> tuple[Camera, ...]:
    """Return all known cameras, sorted by name; the user's replace shipped ones of the same name.

    A table in the user's folder that cannot be read is left out, with a `CarlWarning`.

    Examples:
        >>> [each.name for each in cameras()][:3]
        ['aviris-ng', 'desis', 'emit']
    """
    known = {each.name: each for each in shipped_cameras()}
    for path in _user_tables():
        try:
            found = _read_camera(path, path.stat().st_mtime_ns)
        except WavelengthError as error:
            warnings.warn(f"A camera of yours was left out. {error}", CarlWarning, stacklevel=2)
        except OSError:  # removed meanwhile
            continue
        else:
            known[found.name] = found
    return tuple(known[name] for name in sorted(known))


@cache
def shipped_cameras() -> tuple[Camera, ...]:
    """Return the cameras that are shipped, sorted by name."""
    return tuple(_read_camera(path, 0) for path in sorted(resource_path("cameras").glob("*.csv")))


def camera(name: str) -> Camera:
    """Return the camera of a name, in any case.

    Examples:
        >>> camera("Tivita").n_bands
        100

    Raises:
        WavelengthError: there is no such camera, or its table in the user's folder cannot be read.
    """
    wanted = name.strip().lower()
    for path in _user_tables():
        if path.stem.lower() == wanted:
            return _read_camera(path, path.stat().st_mtime_ns)
    known = {each.name: each for each in shipped_cameras()}
    if wanted in known:
        return known[wanted]
    names = ", ".join(each.name for each in cameras())
    raise WavelengthError(f"No camera is called '{name}': choose one of {names}.")


def _user_tables() -> list[Path]:
    """Return the tables in the user's folder, which need not exist."""
    try:
        return sorted(cameras_folder().glob("*.csv"))[:_MAX_CAMERAS]
    except OSError:  # no permission
        return []


@lru_cache(maxsize=_MAX_CAMERAS + 100)
def _read_camera(path: Path, modified_ns: int) -> Camera:
    """Read the table of a camera, once for each time at which it was modified."""
    bands = read_wavelength_table(path)
    comments = table_comments(path)
    lines = [_FILTER_ARRAY.search(line) for line in comments]
    array = next((_filter_array(found) for found in lines if found), None)
    if array is not None and array.rows * array.columns != bands.wavelengths.size:
        raise WavelengthError(
            f"{path.name} has {bands.wavelengths.size} wavelengths for a filter array of "
            f"{array.rows} × {array.columns}: give one per cell, row by row."
        )
    description = comments[0] if comments else f"{path.name} in your folder of cameras"
    return Camera(path.stem, description, bands.wavelengths, bands.fwhm, array)


def _filter_array(found: re.Match[str]) -> FilterArray:
    rows, columns, first_row, first_column = (int(number or 0) for number in found.groups())
    return FilterArray(rows, columns, first_row, first_column)
