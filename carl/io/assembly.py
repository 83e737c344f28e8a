"""From what a file says to a `SpectralCube`: the decisions all formats share.

**Which axis is the bands.** In this order: what the file says of its axes; else the first or last
axis if its length is the number of known wavelengths (given, of the camera, in the file or beside
it); else the first or last axis if it is clearly the shortest, at most half of each other axis;
else what the format does by habit (last for NumPy and MATLAB, first for TIFF, whose pages are
bands). A cube of three bands, or of one, is a cube like any other.

**Whose wavelengths count.** Those the caller gives, else the camera's, else the file's, else those
in a table beside the file. Wavelengths of a file that cannot be right are left out with a note in
``metadata["notes"]``; wavelengths the caller gives that do not fit are an error. None are guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError
from carl.io.reader import FileContents
from carl.io.sidecar import find_sidecar
from carl.lazy_array import ArraySource
from carl.wavelengths import camera as find_camera
from carl.wavelengths import check_wavelengths, parse_range, read_wavelength_table, to_nm

PLAUSIBLE_NM = (200.0, 20_000.0)
"""Where optical cameras see, ultraviolet to thermal infrared: numbers without a unit are taken for
nm (or µm) only when all of them lie here."""

_UNITLESS = {"", "unknown", "none", "n/a", "wavelength", "wavelengths"}


@dataclass(frozen=True, eq=False)
class BandTable:
    """Band centres and widths in nm, and where they are from."""

    wavelengths: Float64Array
    fwhm: Float64Array | None
    source: str


def requested_bands(
    wavelengths: ArrayLike | str | Path | None, camera: str | None
) -> BandTable | None:
    """The wavelengths a caller gives: numbers in nm, a range, a table, or the name of a camera.

    Raises:
        WavelengthError: they cannot be understood.
    """
    if isinstance(wavelengths, str | Path):
        if isinstance(wavelengths, str) and ":" in wavelengths and not Path(wavelengths).is_file():
            return BandTable(parse_range(wavelengths), None, f"the range {wavelengths}")
        centres, widths = read_wavelength_table(wavelengths)
        return BandTable(centres, widths, Path(wavelengths).name)
    if wavelengths is not None:
        return BandTable(check_wavelengths(wavelengths), None, "the list given")
    if camera is not None:
        known = find_camera(camera)
        return BandTable(known.wavelengths, known.fwhm, f"the camera {known.name}")
    return None


def assemble(contents: FileContents, path: Path, requested: BandTable | None) -> SpectralCube:
    """The cube of a file.

    Args:
        contents: what its format reads in it.
        path: the file.
        requested: the wavelengths the caller gives, or None to take the file's.

    Raises:
        CubeError: the contents are no cube of real numbers.
        WavelengthError: the requested wavelengths do not fit the bands.
    """
    _check_array(contents, path)
    notes = list(contents.notes)
    bands = _choose_bands(contents, path, requested, notes)
    n_known = None if bands is None else bands.wavelengths.size
    data = _bands_last(contents.data, band_axis(contents, n_known))
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


def _bands_last(data: ArraySource, axis: int) -> ArraySource:
    """Return a view of `data` with its bands along the last axis."""
    return data if axis == 2 else np.moveaxis(cast(Any, data), axis, -1)


def band_axis(contents: FileContents, n_known: int | None) -> int:
    """The axis of the bands, by the rule at the top of this module.

    Args:
        contents: what the file says.
        n_known: how many wavelengths are known, or None.
    """
    if contents.band_axis is not None:
        return contents.band_axis
    shape = contents.data.shape
    in_doubt = contents.band_axis_in_doubt
    order = (in_doubt, 2 - in_doubt)
    if n_known is not None:
        for axis in order:
            if shape[axis] == n_known:
                return axis
    for axis in order:
        if all(2 * shape[axis] <= shape[other] for other in range(3) if other != axis):
            return axis
    return in_doubt


def wavelengths_as_nm(values: ArrayLike, unit: str | None) -> Float64Array:
    """Wavelengths of a file in nm; without a usable unit only if they are plainly nm or µm.

    Raises:
        WavelengthError: they are no wavelengths, or nobody can tell their unit.
    """
    numbers = check_wavelengths(values)
    if unit is not None and unit.strip().lower() not in _UNITLESS:
        return check_wavelengths(to_nm(numbers, unit))
    low, high = PLAUSIBLE_NM
    for factor in (1.0, 1e3):
        if low <= numbers.min() * factor and numbers.max() * factor <= high:
            return numbers * factor
    raise WavelengthError(
        f"The wavelengths {numbers[0]:g}..{numbers[-1]:g} have no unit and are plainly neither nm "
        "nor µm: give them in nm."
    )


def _check_array(contents: FileContents, path: Path) -> None:
    shape = tuple(contents.data.shape)
    if len(shape) == 2:
        raise CubeError(
            f"{path.name} holds a two-dimensional image of {shape[0]} × {shape[1]}: "
            "a cube has bands as well."
        )
    if len(shape) != 3:
        raise CubeError(
            f"{path.name} holds an array of {len(shape)} dimensions {shape}: a cube has three, so "
            "save one cube (one time, one depth) to a file of its own."
        )
    if 0 in shape:
        raise CubeError(f"{path.name} holds an empty array of shape {shape}: it has no pixels.")
    if np.dtype(contents.data.dtype).kind not in "biuf":
        raise CubeError(f"{path.name} holds {contents.data.dtype} values: a cube has real numbers.")


def _choose_bands(
    contents: FileContents, path: Path, requested: BandTable | None, notes: list[str]
) -> BandTable | None:
    """The first wavelengths that fit: the caller's, the file's, those of a table beside it."""
    if requested is None:
        return _bands_of_file(contents, notes) or _bands_beside(path, contents, notes)
    n_bands = _n_bands(contents, requested)
    if n_bands != requested.wavelengths.size:
        raise WavelengthError(
            f"{path.name} has {n_bands} bands but {requested.source} has "
            f"{requested.wavelengths.size} wavelengths: give one per band."
        )
    return requested


def _bands_of_file(contents: FileContents, notes: list[str]) -> BandTable | None:
    if contents.wavelengths is None:
        return None
    try:
        centres = wavelengths_as_nm(contents.wavelengths, contents.wavelength_unit)
    except WavelengthError as error:
        notes.append(f"The wavelengths in the file were left out. {error}")
        return None
    return _if_fitting(BandTable(centres, _widths(contents, centres), "the file"), contents, notes)


def _bands_beside(path: Path, contents: FileContents, notes: list[str]) -> BandTable | None:
    beside = find_sidecar(path, notes)
    if beside is None:
        return None
    return _if_fitting(BandTable(beside.wavelengths, beside.fwhm, beside.name), contents, notes)


def _if_fitting(bands: BandTable, contents: FileContents, notes: list[str]) -> BandTable | None:
    count, n_bands = bands.wavelengths.size, _n_bands(contents, bands)
    if count == n_bands:
        return bands
    notes.append(
        f"The wavelengths of {bands.source} were left out: it lists {count} for {n_bands} bands."
    )
    return None


def _n_bands(contents: FileContents, bands: BandTable) -> int:
    return int(contents.data.shape[band_axis(contents, bands.wavelengths.size)])


def _widths(contents: FileContents, centres: Float64Array) -> Float64Array | None:
    """Widths in nm, converted as the centres were; None if the file's make no sense."""
    try:
        written = np.asarray(contents.fwhm, np.float64)
        stated = np.asarray(contents.wavelengths, np.float64)
    except (TypeError, ValueError):
        return None
    if written.shape != centres.shape or not np.all(np.isfinite(written)):
        return None
    # d(nm)/d(unit) is nm/unit for lengths, and in size the same for wavenumbers (nm = 1e7 / unit).
    return written * centres / stated


def _good_bands(marks: ArrayLike | None, n_bands: int) -> NDArray[np.bool_]:
    try:
        good = np.asarray(marks, np.float64) != 0
    except (TypeError, ValueError):
        good = np.ones(0, bool)
    return good if good.shape == (n_bands,) and good.any() else np.ones(n_bands, bool)


def _one_or_per_band(values: ArrayLike, n_bands: int, neutral: float) -> float | Float64Array:
    """One number where one will do; `neutral` where the file's make no sense."""
    numbers = np.atleast_1d(np.asarray(values, np.float64))
    if not np.all(np.isfinite(numbers)) or numbers.size not in (1, n_bands):
        return neutral
    first = float(numbers[0])
    return first if np.all(numbers == first) else numbers
