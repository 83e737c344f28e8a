"""Assembly of a `SpectralCube` from the contents of a file, with the rules that all formats share.

**Axis of the bands.** In this order: the axis stated by the file; else the first or last axis if
its length is the number of known wavelengths (given, of the camera, in the file or beside it); else
the first or last axis if it is clearly the shortest, at most half as long as each other axis; else
the default of the format (last for NumPy and MATLAB; first for TIFF, whose pages are bands).

**Wavelengths.** Those given by the caller, else the camera's, else the file's, else those in a
table beside the file. Implausible wavelengths of a file are ignored, with a note in
``metadata["notes"]``; wavelengths of the caller that do not fit are an error. Wavelengths are never
guessed. Without a unit they are nm or µm where only one of these is possible; unusual ones are
noted.

**What was understood** is in ``metadata["assumptions"]``, a sentence for each decision: which array
was read, which axis is that of the bands and why, where the wavelengths are from, scale and no-data
value. What may be wrong is in ``metadata["notes"]``. Label maps that the file holds beside the cube
are listed in ``metadata["label_variables"]``: arrays of whole numbers of its height and width.

**Table beside the file.** For ``scene.tif`` the first existing one of ``scene_wavelengths.csv``,
``scene_wavelengths.txt``, ``scene.csv``, ``scene.txt`` and ``scene.json``. Tables are those of
`carl.wavelengths.read_wavelength_table`; JSON is a list, or an object with "wavelengths" and
optionally "unit" and "fwhm".
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError
from carl.files import read_json
from carl.io.reader import FileContents, listed_briefly
from carl.io.selection import choose_frame, unflatten
from carl.spectra.filter_array import demosaic
from carl.wavelengths import (
    BandTable,
    check_wavelengths,
    parse_wavelengths,
    read_wavelength_table,
    unusual_wavelengths,
    wavelengths_in_nm,
    widths_to_nm,
)
from carl.wavelengths import camera as find_camera

_TYPED = re.compile(r"\s*[\[({]?\s*\.?\d(?!.*\.(?:csv|txt|tsv)\s*$)", re.IGNORECASE | re.DOTALL)
"""Start of typed wavelengths; the path of a table may start with a digit, too."""
_ORDINALS = ("first", "second", "third")
LABEL_NAME = re.compile(r"label|truth|class|annot|(?:^|_)(?:gt|map|mask|roi)(?:$|_)|_gt", re.I)
"""Names of arrays of floating-point numbers that may be label maps, as MATLAB saves them."""
_SIDECAR_ENDINGS = ("_wavelengths.csv", "_wavelengths.txt", ".csv", ".txt", ".json")


def requested_bands(
    wavelengths: ArrayLike | str | Path | None, camera: str | None
) -> BandTable | str | None:
    """Return the bands given by a caller: numbers in nm, a typed text, a table or a camera's name.

    A typed text is returned as it is: a range without a step needs the number of bands.

    Raises:
        WavelengthError: they cannot be read, or there is no such camera.
    """
    if isinstance(wavelengths, str) and _is_typed(wavelengths):
        return wavelengths
    if isinstance(wavelengths, str) and not os.path.exists(wavelengths):
        raise WavelengthError(
            f"'{wavelengths}' is neither wavelengths, as 400-2500 or 380:770:10, nor a file: check "
            "the name and the folder."
        )
    if isinstance(wavelengths, str | Path):
        return read_wavelength_table(wavelengths)
    if wavelengths is not None:
        return BandTable(check_wavelengths(wavelengths), None, "the list given")
    if camera is not None:
        known = find_camera(camera)
        return BandTable(known.wavelengths, known.fwhm, f"the camera {known.name}")
    return None


def _is_typed(text: str) -> bool:
    """Return whether a text is wavelengths, not the path of a table."""
    return bool(_TYPED.match(text)) and not os.path.isfile(text)


def demosaiced(contents: FileContents, camera: str) -> FileContents:
    """Return the contents of a raw frame as those of a cube, if the camera is a snapshot camera.

    A frame is a two-dimensional array, or has a single band. Other contents are returned as they
    are.

    Raises:
        WavelengthError: there is no such camera.
        CubeError: the frame is smaller than the pattern of filters.
    """
    known = find_camera(camera)
    shape = tuple(contents.data.shape)
    if known.filter_array is None or len([n for n in shape if n > 1]) != 2:
        return contents
    frame = np.asarray(contents.data[(slice(None),) * len(shape)]).reshape(
        [n for n in shape if n > 1]
    )
    note = (
        f"The raw frame of {frame.shape[0]} × {frame.shape[1]} pixels was split into the "
        f"{known.n_bands} bands of {known.name}, one pixel for each pattern of filters."
    )
    return replace(
        contents,
        data=demosaic(frame, known.filter_array),
        band_axis=2,
        wavelengths=None,
        fwhm=None,
        good_bands=None,
        notes=(*contents.notes, note),
    )


def assemble(
    contents: FileContents,
    path: Path,
    requested: BandTable | str | None,
    frame: int | str | None = None,
    height: int | None = None,
) -> SpectralCube:
    """Build the cube of a file, with the requested bands; if None, with those of the file.

    Args:
        contents: what a reader has found in the file.
        path: the file.
        requested: as returned by `requested_bands`.
        frame: of a recording of several, as in `carl.read_cube`.
        height: of a flattened table, in pixels.

    Raises:
        ChoiceError: a frame or a height has to be chosen.
        CubeError: the contents are not a cube of real numbers.
        WavelengthError: the requested wavelengths do not fit the bands.
    """
    n_known = _n_known(contents, requested)
    contents = unflatten(choose_frame(contents, frame, n_known, path), height, n_known, path)
    _check_array(contents, path)
    notes = list(contents.notes)
    if requested is None:
        bands = (
            _bands_of_file(contents, notes)
            or _bands_beside(path, contents, notes)
            or _bands_of_camera(contents)
        )
    else:
        bands = _parsed(requested, contents) if isinstance(requested, str) else requested
        if (n_found := _n_bands(contents, bands)) != bands.wavelengths.size:
            raise WavelengthError(
                f"{path.name} has {n_found} bands but {bands.source} has "
                f"{bands.wavelengths.size} wavelengths: give one per band."
            )
    if bands is not None and (warning := unusual_wavelengths(bands.wavelengths)):
        notes.append(warning)
    axis, reason = _axis_and_reason(contents, None if bands is None else bands.wavelengths.size)
    data = contents.data if axis == 2 else np.moveaxis(cast(Any, contents.data), axis, -1)
    n_bands = int(data.shape[2])
    metadata: dict[str, Any] = {
        **contents.metadata,
        "path": str(path),
        "notes": tuple(notes),
        "assumptions": tuple(_assumptions(contents, bands, f"{_ORDINALS[axis]} axis, {reason}")),
        "label_variables": _label_variables(contents, tuple(data.shape[:2])),
    }
    if bands is not None:
        metadata["wavelength_source"] = bands.source
    return SpectralCube(
        data,
        wavelengths=None if bands is None else bands.wavelengths,
        fwhm=None if bands is None else bands.fwhm,
        good_bands=_good_bands(contents.good_bands, n_bands),
        name=contents.name or path.stem,
        metadata=metadata,
        scale=_one_or_per_band(contents.scale, n_bands, 1.0),
        offset=_one_or_per_band(contents.offset, n_bands, 0.0),
        nodata=contents.nodata,
    )


def band_axis(contents: FileContents, n_known: int | None) -> int:
    """Return the axis of the bands, by the rule in the module's docstring.

    `n_known` is the number of known wavelengths, or None.
    """
    return _axis_and_reason(contents, n_known)[0]


def _axis_and_reason(contents: FileContents, n_known: int | None) -> tuple[int, str]:
    if contents.band_axis is not None:
        return contents.band_axis, "by the layout of the file"
    shape = contents.data.shape
    default = contents.default_band_axis
    candidates = (default, 2 - default)
    if n_known is not None:
        for axis in candidates:
            if shape[axis] == n_known:
                return axis, "as it is as long as the list of wavelengths"
    for axis in candidates:
        if all(2 * shape[axis] <= shape[other] for other in range(3) if other != axis):
            return axis, "as it is clearly the shortest"
    return default, "as usual in this format: no other rule decides"


def _assumptions(contents: FileContents, bands: BandTable | None, axis: str) -> list[str]:
    """Return a sentence for each decision that the file leaves open or that changes values."""
    found = [*contents.assumptions, f"The bands are along the {axis}."]
    variable = contents.metadata.get("variable")
    others = [each for each in contents.others if each.name != variable and each.size > 1]
    if variable is not None and others:
        listed = listed_briefly([str(each) for each in others])
        found.insert(0, f"The array {variable} was read; the file also holds {listed}.")
    if bands is None:
        found.append("The wavelengths are unknown: nothing states them.")
    else:
        given = "" if bands.unit == "nm" else f", given in {bands.unit}"
        found.append(f"The wavelengths are from {bands.source}{given}.")
    stated = ((contents.scale, 1), (contents.offset, 0))
    if any(each is not None and np.any(np.asarray(each) != neutral) for each, neutral in stated):
        found.append("The stored numbers are converted by the scale factors of the file.")
    if contents.nodata is not None and np.isfinite(contents.nodata):
        found.append(f"The stored number {contents.nodata:g} means that there is no data.")
    return found


def _label_variables(contents: FileContents, size: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the arrays in the file that may be label maps of the cube."""
    return tuple(
        each.name
        for each in contents.others
        if tuple(n for n in each.shape if n != 1) == tuple(n for n in size if n != 1)
        and (each.kind in "biu" or (each.kind == "f" and LABEL_NAME.search(each.name)))
        and each.name != contents.metadata.get("variable")
    )


def _parsed(text: str, contents: FileContents) -> BandTable:
    """Parse typed wavelengths, whose number may decide which axis is that of the bands."""
    try:
        return parse_wavelengths(text)
    except WavelengthError:
        # Not clear by itself, as "400-2500": the number of bands is that of the axis chosen without
        # wavelengths.
        return parse_wavelengths(text, int(contents.data.shape[band_axis(contents, None)]))


def _check_array(contents: FileContents, path: Path) -> None:
    shape = tuple(contents.data.shape)
    if len(shape) == 2:
        raise CubeError(
            f"{path.name} holds a two-dimensional image of {shape[0]} × {shape[1]}: "
            "a cube also needs bands. Name the camera if it is a raw frame of a snapshot camera."
        )
    if len(shape) != 3:
        raise CubeError(
            f"{path.name} holds an array of {len(shape)} dimensions {shape}: a cube has three."
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
        centres, unit = wavelengths_in_nm(contents.wavelengths, contents.wavelength_unit)
    except WavelengthError as error:
        notes.append(f"The wavelengths in the file were ignored. {error}")
        return None
    fwhm = _widths(contents.fwhm, contents.wavelengths, centres)
    return _if_fitting(BandTable(centres, fwhm, contents.wavelength_source, unit), contents, notes)


def _bands_of_camera(contents: FileContents) -> BandTable | None:
    if contents.camera is None:
        return None
    known = find_camera(contents.camera)
    return BandTable(known.wavelengths, known.fwhm, f"the camera {known.name}")


def _n_known(contents: FileContents, requested: BandTable | str | None) -> int | None:
    """Return the number of wavelengths that are requested, or else stated; None if unknown."""
    if isinstance(requested, BandTable):
        return requested.wavelengths.size
    if isinstance(requested, str):
        try:
            return parse_wavelengths(requested).wavelengths.size
        except WavelengthError:  # a range, which fits any number of bands
            return None
    if contents.wavelengths is None:
        return None
    return int(np.asarray(contents.wavelengths, dtype=object).size)  # a damaged list may be ragged


def _bands_beside(path: Path, contents: FileContents, notes: list[str]) -> BandTable | None:
    """Return the bands of the first table beside a file; other files are skipped, with a note."""
    for ending in _SIDECAR_ENDINGS:
        table = path.with_name(path.stem + ending)
        if table == path or not os.path.isfile(table):  # False for names that are too long
            continue
        try:
            bands = _read_json(table) if ending == ".json" else read_wavelength_table(table)
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
    listed, stated = content["wavelengths"], content.get("unit")
    try:
        centres, unit = wavelengths_in_nm(listed, None if stated is None else str(stated))
    except WavelengthError as error:
        raise WavelengthError(f"{path.name}: {error}") from error
    return BandTable(centres, _widths(content.get("fwhm"), listed, centres), path.name, unit)


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


def _widths(stored: Any, stored_centres: Any, nm: Float64Array) -> Float64Array | None:
    """Return the widths of a file in nm, converted like its centres; None if they are invalid."""
    try:
        widths = np.asarray(stored, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if widths.shape != nm.shape or not np.all(np.isfinite(widths)):
        return None
    return widths_to_nm(widths, stored_centres, nm)


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
