"""Assembly of a `SpectralCube` from the contents of a file, with the rules that all formats share.

**Axis of the bands.** In this order: the axis stated by the file; else the first or last axis if
its length is the number of known wavelengths (given, of the camera, in the file or beside it); else
the first or last axis if it is clearly the shortest, at most half as long as each other axis; else
the default of the format (last for NumPy and MATLAB; first for TIFF, whose pages are bands).

**Wavelengths.** Those given by the caller, else the camera's, else the file's, else those in a
table beside the file. Implausible wavelengths of a file are ignored, with a note in
``metadata["notes"]``; wavelengths of the caller that do not fit are an error. Wavelengths are never
guessed.

**Table beside the file.** For ``scene.tif`` the first existing one of ``scene_wavelengths.csv``,
``scene_wavelengths.txt``, ``scene.csv``, ``scene.txt`` and ``scene.json``. Tables are those of
`carl.wavelengths.read_wavelength_table`; JSON is a list in nm, or an object with "wavelengths" and
optionally "unit" and "fwhm".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError
from carl.files import read_json
from carl.io.reader import FileContents
from carl.wavelengths import camera as find_camera
from carl.wavelengths import check_wavelengths, parse_range, read_wavelength_table, to_nm

_PLAUSIBLE_NM = (200.0, 20_000.0)
"""Wavelengths of optical cameras, ultraviolet to thermal infrared. Numbers without a unit are taken
as nm, or as µm, only if all of them are in this range."""

_NO_UNIT = {"", "unknown", "none", "n/a", "wavelength", "wavelengths"}
_SIDECAR_ENDINGS = ("_wavelengths.csv", "_wavelengths.txt", ".csv", ".txt", ".json")


@dataclass(frozen=True, eq=False)
class BandTable:
    """Band centres and widths in nm, and their source for messages."""

    wavelengths: Float64Array
    fwhm: Float64Array | None
    source: str


def requested_bands(
    wavelengths: ArrayLike | str | Path | None, camera: str | None
) -> BandTable | None:
    """Return the bands given by a caller: numbers in nm, a range, a table or a camera's name.

    Raises:
        WavelengthError: they cannot be parsed.
    """
    if isinstance(wavelengths, str | Path):
        if isinstance(wavelengths, str) and ":" in wavelengths and not os.path.isfile(wavelengths):
            return BandTable(parse_range(wavelengths), None, f"the range {wavelengths}")
        return BandTable(*read_wavelength_table(wavelengths), Path(wavelengths).name)
    if wavelengths is not None:
        return BandTable(check_wavelengths(wavelengths), None, "the list given")
    if camera is not None:
        known = find_camera(camera)
        return BandTable(known.wavelengths, known.fwhm, f"the camera {known.name}")
    return None


def assemble(contents: FileContents, path: Path, requested: BandTable | None) -> SpectralCube:
    """Build the cube of a file, with the requested bands; if None, with those of the file.

    Raises:
        CubeError: the contents are not a cube of real numbers.
        WavelengthError: the requested wavelengths do not fit the bands.
    """
    _check_array(contents, path)
    notes = list(contents.notes)
    bands = requested
    if requested is None:
        bands = _bands_of_file(contents, notes) or _bands_beside(path, contents, notes)
    elif (n_found := _n_bands(contents, requested)) != requested.wavelengths.size:
        raise WavelengthError(
            f"{path.name} has {n_found} bands but {requested.source} has "
            f"{requested.wavelengths.size} wavelengths: give one per band."
        )
    axis = band_axis(contents, None if bands is None else bands.wavelengths.size)
    data = contents.data if axis == 2 else np.moveaxis(cast(Any, contents.data), axis, -1)
    n_bands = int(data.shape[2])
    metadata: dict[str, Any] = {**contents.metadata, "path": str(path), "notes": tuple(notes)}
    if bands is not None:
        metadata["wavelength_source"] = bands.source
    return SpectralCube(
        data,
        wavelengths=None if bands is None else bands.wavelengths,
        fwhm=None if bands is None else bands.fwhm,
        good_bands=_good_bands(contents.good_bands, n_bands),
        name=path.stem,
        metadata=metadata,
        scale=_one_or_per_band(contents.scale, n_bands, 1.0),
        offset=_one_or_per_band(contents.offset, n_bands, 0.0),
        nodata=contents.nodata,
    )


def band_axis(contents: FileContents, n_known: int | None) -> int:
    """Return the axis of the bands, by the rule in the module's docstring.

    `n_known` is the number of known wavelengths, or None.
    """
    if contents.band_axis is not None:
        return contents.band_axis
    shape = contents.data.shape
    default = contents.default_band_axis
    candidates = (default, 2 - default)
    if n_known is not None:
        for axis in candidates:
            if shape[axis] == n_known:
                return axis
    for axis in candidates:
        if all(2 * shape[axis] <= shape[other] for other in range(3) if other != axis):
            return axis
    return default


def wavelengths_as_nm(values: ArrayLike, unit: str | None) -> Float64Array:
    """Convert wavelengths of a file to nm; without a unit, only if they must be nm or µm.

    Raises:
        WavelengthError: they are not wavelengths, or their unit is unclear.
    """
    numbers = check_wavelengths(values)
    if unit is not None and unit.strip().lower() not in _NO_UNIT:
        return check_wavelengths(to_nm(numbers, unit))
    low, high = _PLAUSIBLE_NM
    for factor in (1.0, 1e3):
        if low <= numbers.min() * factor and numbers.max() * factor <= high:
            return numbers * factor
    raise WavelengthError(
        f"The wavelengths {numbers[0]:g}..{numbers[-1]:g} have no unit and can be neither nm nor "
        "µm: give them in nm."
    )


def _check_array(contents: FileContents, path: Path) -> None:
    shape = tuple(contents.data.shape)
    if len(shape) == 2:
        raise CubeError(
            f"{path.name} holds a two-dimensional image of {shape[0]} × {shape[1]}: "
            "a cube also needs bands."
        )
    if len(shape) != 3:
        raise CubeError(
            f"{path.name} holds an array of {len(shape)} dimensions {shape}: a cube has three, so "
            "save one cube (one time, one depth) to a file of its own."
        )
    if 0 in shape:
        raise CubeError(f"{path.name} holds an empty array of shape {shape}: it has no pixels.")
    if np.dtype(contents.data.dtype).kind not in "biuf":
        raise CubeError(
            f"{path.name} holds {contents.data.dtype} values: a cube needs real numbers."
        )


def _bands_of_file(contents: FileContents, notes: list[str]) -> BandTable | None:
    if contents.wavelengths is None:
        return None
    try:
        centres = wavelengths_as_nm(contents.wavelengths, contents.wavelength_unit)
    except WavelengthError as error:
        notes.append(f"The wavelengths in the file were ignored. {error}")
        return None
    return _if_fitting(BandTable(centres, _widths(contents, centres), "the file"), contents, notes)


def _bands_beside(path: Path, contents: FileContents, notes: list[str]) -> BandTable | None:
    """Return the bands of the first table beside a file; other files are skipped, with a note."""
    for ending in _SIDECAR_ENDINGS:
        table = path.with_name(path.stem + ending)
        if table == path or not os.path.isfile(table):  # False for names that are too long
            continue
        try:
            if ending == ".json":
                bands = _read_json(table)
            else:
                bands = BandTable(*read_wavelength_table(table), table.name)
        except WavelengthError as error:
            notes.append(f"A file beside the cube was ignored. {error}")
            continue
        if bands is not None:
            return _if_fitting(bands, contents, notes)
    return None


def _read_json(path: Path) -> BandTable | None:
    """Read bands from JSON; None if it holds something else, such as class names."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise WavelengthError(f"{path.name} is not readable JSON.") from error
    if isinstance(content, list):
        content = {"wavelengths": content}
    if not isinstance(content, dict) or content.get("wavelengths") is None:
        return None
    unit = str(content.get("unit") or "nm")
    try:
        centres = check_wavelengths(to_nm(check_wavelengths(content["wavelengths"]), unit))
        widths = content.get("fwhm")
        fwhm = None if widths is None else to_nm(np.asarray(widths, np.float64), unit)
    except (TypeError, ValueError, OverflowError, WavelengthError) as error:
        raise WavelengthError(f"{path.name}: {error}") from error
    if fwhm is not None and fwhm.shape != centres.shape:
        fwhm = None
    return BandTable(centres, fwhm, path.name)


def _if_fitting(bands: BandTable, contents: FileContents, notes: list[str]) -> BandTable | None:
    count, n_bands = bands.wavelengths.size, _n_bands(contents, bands)
    if count == n_bands:
        return bands
    notes.append(
        f"The wavelengths of {bands.source} were ignored: it lists {count} for {n_bands} bands."
    )
    return None


def _n_bands(contents: FileContents, bands: BandTable) -> int:
    return int(contents.data.shape[band_axis(contents, bands.wavelengths.size)])


def _widths(contents: FileContents, centres: Float64Array) -> Float64Array | None:
    """Return the widths of a file in nm, converted like its centres; None if they are invalid."""
    try:
        stored = np.asarray(contents.fwhm, np.float64)
        stored_centres = np.asarray(contents.wavelengths, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if stored.shape != centres.shape or not np.all(np.isfinite(stored)):
        return None
    # |d(nm)/d(unit)| = nm/unit, both for lengths and for wavenumbers (nm = 1e7 / unit).
    return stored * centres / stored_centres


def _good_bands(flags: ArrayLike | None, n_bands: int) -> NDArray[np.bool_]:
    """Return the flags of a file; all True if they are invalid or no band is good."""
    try:
        good = np.asarray(flags, np.float64) != 0
    except (TypeError, ValueError, OverflowError):
        good = np.ones(0, bool)
    return good if good.shape == (n_bands,) and good.any() else np.ones(n_bands, bool)


def _one_or_per_band(
    values: ArrayLike | None, n_bands: int, neutral: float
) -> float | Float64Array:
    """Return one number if all are equal, else one per band; `neutral` if None or invalid."""
    numbers = np.atleast_1d(np.asarray(values, np.float64))  # None becomes NaN
    if not np.all(np.isfinite(numbers)) or numbers.size not in (1, n_bands):
        return neutral
    first = float(numbers[0])
    return first if np.all(numbers == first) else numbers
