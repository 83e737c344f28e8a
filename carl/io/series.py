"""Series of files with one band or frame each: MicaSense RedEdge, filter wheels, CAVE, and others.

**Which files belong together.** Files of one folder and suffix whose names are equal but for their
numbers, such as ``IMG_0000_1.tif`` to ``IMG_0000_5.tif``. If more than one number differs, one of
them counts the bands: the one with a unit (``450nm_shot2.png``), else the last one; files that are
equal in the others are one recording. If all recordings had one file only, as with a time stamp in
every name, the files are one recording.

**Wavelengths.** Those that the files state, such as the XMP of MicaSense; else those in the names;
else those of the CAVE database, if the files are named as in it. The bands are in the order of
their wavelengths, or of the numbers in their names.

CAVE (cs.columbia.edu/CAVE/databases/multispectral): ``object_ms_01.png`` was recorded at 400 nm,
``object_ms_02.png`` at 410 nm, and so on to ``object_ms_31.png`` at 700 nm.

A file is opened when its band is read; a few are kept open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.errors import CubeError, WavelengthError
from carl.io import pictures
from carl.io.reader import Choice, ChoiceError, FileContents
from carl.lazy_array import ArraySource, Block, LazyArray
from carl.memory_cache import MemoryCache
from carl.wavelengths import to_nm, unusual_wavelengths, wavelengths_in_nm

SUFFIXES = (".tif", ".tiff", *pictures.READER.suffixes, ".npy", ".mat")
"""Suffixes of files that may hold a single band."""
_RESULT_ENDINGS = ("_labels", "_probabilities")
"""Endings of the names of exported results, which are no bands."""
_MIN_FILES = 2
_MAX_FILES = 4096
"""Most bands of a series: each file is opened once to read its size."""
_OPEN_FILES = 64
"""Files of a series that stay open: systems allow a process 256 files and more."""
_CAVE = re.compile(r".*_ms_\d\d")
_CAVE_NM = np.arange(400.0, 701.0, 10.0)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_UNIT = re.compile(r"\s?(nm|um|µm|μm)(?![a-z])", re.IGNORECASE)
_SEPARATORS = " _-.,()[]"

_UNREGISTERED = (
    "Its bands are from separate lenses and are not registered to each other: register them "
    "(register=True, --register, or the button in the dock)."
)

ReadFile = Callable[[Path], FileContents]
"""Reads any file as one reader does."""


@dataclass(frozen=True)
class Series:
    """Files of one recording.

    Attributes:
        name: what their names have in common; that of the folder if they share nothing.
        files: at least two, in the order of the numbers in their names.
    """

    name: str
    files: tuple[Path, ...]


def series_of(path: Path) -> Series | None:
    """Return the series that a file belongs to; None if there is no other file like it."""
    if path.suffix.lower() not in SUFFIXES or path.stem.endswith(_RESULT_ENDINGS):
        return None
    alike = [each for each in _files_in(path.parent) if _pattern(each) == _pattern(path)]
    return next((each for each in _recordings(alike) if path.name in _names(each.files)), None)


def series_in(folder: Path) -> tuple[Series, ...]:
    """Return all series of files in a folder, by name."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in _files_in(folder):
        groups.setdefault(_pattern(path), []).append(path)
    found = (series for files in groups.values() for series in _recordings(files))
    return tuple(sorted(found, key=lambda each: each.name))


def read_folder(folder: Path, name: str | None, read_file: ReadFile) -> FileContents:
    """Read the series of files in a folder.

    Args:
        folder: any.
        name: of the series; None if there is only one.
        read_file: reads a file.

    Raises:
        CubeError: there is none of that name, the files cannot be read, or differ in size.
        ChoiceError: there are several and no name.
    """
    found = series_in(folder)
    if name is not None:
        found = tuple(each for each in found if each.name == name)
    bands = [each for each in found if holds_band(each.files[0], read_file)]
    if len(bands) > 1:
        choices = tuple(Choice(each.name, _described(each)) for each in bands)
        raise ChoiceError(f"{folder.name} holds several cubes", "variable", choices)
    if not bands:
        named = "" if name is None else f" named '{name}'"
        raise CubeError(
            f"{folder.name} is a folder without a series of files with one band each{named}: "
            "choose the file of a cube in it."
        )
    return read_series(bands[0], read_file)


def read_series(series: Series, read_file: ReadFile) -> FileContents:
    """Read a series of files as one cube, a band when it is needed.

    Raises:
        CubeError: there are too many files, one cannot be read or has several bands, or they
            differ in size or in the type of their values.
    """
    files = series.files
    if len(files) > _MAX_FILES:
        raise CubeError(
            f"{series.name} consists of {len(files)} files: a cube has {_MAX_FILES} bands at most, "
            "so put the files of one recording into a folder of their own."
        )
    found = [_read_band(path, read_file) for path in files]
    _check_equal(series, found)
    shape, dtype = found[0].data.shape, found[0].data.dtype
    nm, fwhm, source = _wavelengths(series, found)
    order = list(range(len(files))) if nm is None else [int(i) for i in np.argsort(nm)]
    files = tuple(files[i] for i in order)
    metadata: dict[str, Any] = {
        "format": f"series of {len(files)} files",
        "files": tuple(str(path) for path in files),
        "unregistered": _UNREGISTERED if source == _FROM_FILES else "",
    }
    notes = [f"{series.name} is one cube of {len(files)} files: {_first_and_last(files)}."]
    if source == _FROM_FILES:
        notes.append(_UNREGISTERED)
    elif source == _FROM_CAVE:
        notes.append(
            "The wavelengths, 400–700 nm in steps of 10 nm, are those of the CAVE database, whose "
            "files are named like these."
        )
    return FileContents(
        data=SeriesPixels(files, read_file, shape, dtype),
        band_axis=2,
        wavelengths=None if nm is None else nm[order],
        wavelength_unit="nm",
        wavelength_source=source,
        fwhm=None if fwhm is None else fwhm[order],
        scale=_common([each.scale for each in found], order),
        offset=_common([each.offset for each in found], order),
        nodata=found[0].nodata,
        name=series.name,
        metadata=metadata,
        notes=tuple(notes),
    )


class SeriesPixels(LazyArray):
    """The (H, W, C) pixels of a series of files, each read when its band is.

    Args:
        files: one per band.
        read_file: reads a file.
        shape: (H, W) of each.
        dtype: of each.
    """

    def __init__(
        self,
        files: Sequence[Path],
        read_file: ReadFile,
        shape: Sequence[int],
        dtype: np.dtype[Any],
    ) -> None:
        super().__init__((*shape, len(files)), dtype)
        self._files = tuple(files)
        self._read_file = read_file
        self._open: MemoryCache[int, ArraySource] = MemoryCache(_OPEN_FILES)

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, columns, bands = (range(n)[part] for n, part in zip(self.shape, block, strict=True))
        values = np.empty((len(rows), len(columns), len(bands)), self.dtype)
        for index, band in enumerate(bands):
            values[..., index] = self._band(band)[block[0], block[1]]
        return values

    def _band(self, band: int) -> ArraySource:
        def opened() -> ArraySource:
            path = self._files[band]
            data = _read_band(path, self._read_file).data
            if data.shape != self.shape[:2] or data.dtype != self.dtype:
                raise CubeError(f"{path.name} was changed since it was opened: open it again.")
            return data

        return self._open.get(band, opened)


# ---- which files belong together


def _files_in(folder: Path) -> list[Path]:
    """Return the files of a folder that may be bands; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file()]
    except (OSError, ValueError):  # no folder, or no name of one
        return []
    paths = (folder / name for name in names if not name.startswith("."))
    return [
        path
        for path in paths
        if path.suffix.lower() in SUFFIXES and not path.stem.endswith(_RESULT_ENDINGS)
    ]


def _recordings(files: Iterable[Path]) -> list[Series]:
    """Divide files whose names differ in numbers only into recordings of at least two."""
    files = sorted(files, key=lambda each: _numbers(each.stem))
    if len(files) < _MIN_FILES:
        return []
    differing = _differing([each.stem for each in files])
    if not differing:
        return []
    band = next((at for at in differing if _unit_after(files[0].stem, at)), differing[-1])
    groups: dict[tuple[str, ...], list[Path]] = {}
    for path in files:
        numbers = [found[0] for found in _NUMBER.finditer(path.stem)]
        others = tuple(number for at, number in enumerate(numbers) if at != band)
        groups.setdefault(others, []).append(path)
    if len(groups) == len(files):
        return [Series(_common_name(files, differing), tuple(files))]
    return [
        Series(_common_name(group, [band]), tuple(group))
        for group in groups.values()
        if len(group) >= _MIN_FILES
    ]


def _differing(names: Sequence[str]) -> list[int]:
    """Return which of the numbers in names of one pattern are not equal in all of them."""
    numbers = zip(*([each[0] for each in _NUMBER.finditer(name)] for name in names), strict=True)
    return [at for at, found in enumerate(numbers) if len(set(found)) > 1]


def _common_name(files: Sequence[Path], differing: Sequence[int]) -> str:
    """Return the name of a file without the numbers that differ and their units."""
    name, stop = "", 0
    stem = files[0].stem
    for at, found in enumerate(_NUMBER.finditer(stem)):
        if at in differing:
            unit = _UNIT.match(stem, found.end())
            name += stem[stop : found.start()].rstrip(_SEPARATORS)
            stop = found.end() if unit is None else unit.end()
    name = (name + stem[stop:]).strip(_SEPARATORS)
    return name or files[0].absolute().parent.name


def _pattern(path: Path) -> tuple[str, str]:
    return _NUMBER.sub("#", path.stem), path.suffix.lower()


def _numbers(name: str) -> list[float]:
    return [float(found[0]) for found in _NUMBER.finditer(name)]


def _unit_after(name: str, number: int) -> str | None:
    """Return the unit of length behind a number of a name, or None."""
    found = _UNIT.match(name, list(_NUMBER.finditer(name))[number].end())
    return None if found is None else found[1].lower()


def _names(files: Iterable[Path]) -> set[str]:
    return {each.name for each in files}


def _described(series: Series) -> str:
    return f"{series.name} ({len(series.files)} files)"


def _first_and_last(files: Sequence[Path]) -> str:
    return f"{files[0].name} to {files[-1].name}"


# ---- contents of the files


def holds_band(path: Path, read_file: ReadFile) -> bool:
    """Return whether a file holds a single band; False if it cannot be read."""
    try:
        _read_band(path, read_file)
    except CubeError:
        return False
    return True


def _read_band(path: Path, read_file: ReadFile) -> FileContents:
    """Read a file with a single band, (H, W).

    Raises:
        CubeError: it cannot be read, or holds several bands.
    """
    found = read_file(path)
    shape = tuple(found.data.shape)
    if len(shape) == 3 and found.camera == pictures.CAMERA:
        found = pictures.read_as_grey(path)
        np.asarray(found.data[:1, :1])  # refused now if it is in colour
        return found
    if len(shape) == 3 and 1 in (shape[0], shape[2]) and found.band_axis != 1:
        data: Any = found.data
        return replace(found, data=data[0] if shape[0] == 1 else data[..., 0])
    if len(shape) != 2 or 0 in shape:
        raise CubeError(f"{path.name} has the shape {shape}: a file of a series holds one band.")
    return found


def _check_equal(series: Series, found: Sequence[FileContents]) -> None:
    """Check that all bands have the size and the type of most of them."""
    kinds = [(*each.data.shape, str(each.data.dtype)) for each in found]
    usual = max(set(kinds), key=lambda kind: (kinds.count(kind), kind))
    other = next((i for i, kind in enumerate(kinds) if kind != usual), None)
    if other is None:
        return
    one = kinds.index(usual)
    described = (
        f"{series.files[i].name} is {kinds[i][0]} × {kinds[i][1]} ({kinds[i][2]})"
        for i in sorted((one, other))
    )
    raise CubeError(
        f"The files of {series.name} differ: {' and '.join(described)}. The bands of a cube have "
        "one size and type, so put those that differ into another folder."
    )


def _common(values: Sequence[Any], order: Sequence[int]) -> Any:
    """Return one number per band, in an order; None if a file states none."""
    if any(value is None or np.size(value) != 1 for value in values):
        return None
    return np.array([np.ravel(values[i])[0] for i in order], np.float64)


# ---- wavelengths

_FROM_FILES, _FROM_NAMES, _FROM_CAVE = (
    "the metadata of its files", "the names of its files", "the CAVE database",
)  # fmt: skip


def _wavelengths(
    series: Series, found: Sequence[FileContents]
) -> tuple[Float64Array | None, Float64Array | None, str]:
    """Return centres and widths in nm in the order of the files, and where they are from."""
    stated = [_single(each.wavelengths, each.wavelength_unit) for each in found]
    if None not in stated:
        widths = [_single(each.fwhm, each.wavelength_unit) for each in found]
        fwhm = None if None in widths else np.array(widths, np.float64)
        return np.array(stated, np.float64), fwhm, _FROM_FILES
    stems = [path.stem for path in series.files]
    nm = wavelengths_of_names(stems)
    if nm is not None:
        return nm, None, _FROM_NAMES
    is_cave = len(stems) == _CAVE_NM.size and all(_CAVE.fullmatch(stem) for stem in stems)
    if is_cave and [int(stem[-2:]) for stem in stems] == [*range(1, _CAVE_NM.size + 1)]:
        return _CAVE_NM, None, _FROM_CAVE
    return None, None, ""


def _single(value: Any, unit: str | None) -> float | None:
    """Return the only number of a list in nm; None if there is not just one, or no unit."""
    try:
        (number,) = to_nm(np.ravel(value), unit or "")
    except (TypeError, ValueError, WavelengthError):
        return None
    return float(number)


def wavelengths_of_names(names: Sequence[str]) -> Float64Array | None:
    """Return the wavelengths in nm that stand in the names of files, one per band.

    Of the numbers in which the names differ, one is the wavelength: the only one, or the only one
    with a unit. Without a unit behind it, it must be a wavelength by its size, and not count up by
    one as the numbers of images do.

    Examples:
        >>> wavelengths_of_names(["band_450nm", "band_500nm", "band_1000nm"])
        array([ 450.,  500., 1000.])
        >>> wavelengths_of_names(["image_1", "image_2", "image_3"]) is None
        True
    """
    if len(names) < _MIN_FILES or len({_NUMBER.sub("#", name) for name in names}) > 1:
        return None
    differing = _differing(names)
    if len(differing) > 1:
        differing = [at for at in differing if _unit_after(names[0], at)]
    if len(differing) != 1:
        return None
    (at,) = differing
    unit = _unit_after(names[0], at)
    values = [_numbers(name)[at] for name in names]
    if unit is None and all(abs(after - before) == 1 for before, after in pairwise(values)):
        return None
    try:
        nm, _ = wavelengths_in_nm(values, unit)
    except WavelengthError:
        return None
    return None if unit is None and unusual_wavelengths(nm) else nm
