"""ENVI files, a text header beside raw numbers, and ArcGIS headers of BIL, BIP and BSQ files.

Headers are not parsed with the package `spectral`, which refuses files that occur in practice:
those without ``byte order`` (little-endian is right), not in UTF-8, or with a comment after a list.
Its table of data types and its writer are used.

Padding declared by ArcGIS headers (``BANDROWBYTES``, ``TOTALROWBYTES``, ``BANDGAPBYTES``) is
ignored: the size of the data file is checked, and some headers carry row lengths of other files.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.files import atomic_write
from carl.io.companions import find_references
from carl.io.georeference import Georeference, envi_keys, from_envi
from carl.io.reader import FileContents, Reader, starts_with
from carl.mapped_files import open_array

DATA_SUFFIXES = (".dat", ".img", ".raw", ".bil", ".bip", ".bsq", ".bin", ".hyspex", "")
"""Suffixes of the data file beside a header, the most likely first."""

WRITTEN_SUFFIX = ".dat"
"""Suffix of the data files that are written."""

Header = Mapping[str, str | list[str]]

_FILE_AXES = {"bip": (0, 1, 2), "bil": (0, 2, 1), "bsq": (2, 0, 1)}
"""Order of the axes (0 lines, 1 samples, 2 bands) in the data file."""
_REQUIRED_KEYS = ("samples", "lines", "bands", "data type", "interleave")
_MAX_HEADER_BYTES = 16 * 2**20
"""Bytes that are read of a header: data files with the suffix .hdr can be large."""

_ARCGIS_FIRST_KEYS = (b"BYTEORDER", b"LAYOUT", b"NROWS", b"NCOLS", b"NBANDS", b"NBITS")
_ENVI_KEYS = {
    "NROWS": "lines",
    "NCOLS": "samples",
    "NBANDS": "bands",
    "LAYOUT": "interleave",
    "SKIPBYTES": "header offset",
    "NODATA": "data ignore value",
}
"""ENVI keys of ArcGIS keys."""
_ENVI_TYPES = {
    ("8", "U"): "1", ("16", "U"): "12", ("16", "S"): "2", ("32", "U"): "13", ("32", "S"): "3",
    ("32", "F"): "4", ("64", "F"): "5",
}  # fmt: skip
"""ENVI data types of bits per number and kind (unsigned, signed, float)."""


@dataclass(frozen=True, eq=False)
class Classification:
    """A label map: (H, W) values, 0 for unlabelled, and names and RGB colours of its classes."""

    labels: Any
    names: dict[int, str]
    colours: dict[int, tuple[int, int, int]]


def sniff(path: Path) -> bool:
    """Return whether a file is an ENVI or ArcGIS header, or a data file with one beside it."""
    header = find_header(path)
    signatures = (b"ENVI", b"\xef\xbb\xbfENVI", *_ARCGIS_FIRST_KEYS)
    return header is not None and starts_with(header, *signatures)


def is_classification(path: Path) -> bool:
    """Return whether a file is the header or the data file of a classification; never raises."""
    if path.suffix.lower() not in (".hdr", *DATA_SUFFIXES) or not sniff(path):
        return False
    try:
        return _is_classification(_read_header(_require_header(path)))
    except CubeError:
        return False


def read_classification(path: Path) -> Classification:
    """Read the label map of a header, or of a data file with its header beside it, lazily.

    Raises:
        CubeError: the header is incomplete or contradicts the data file, or has several bands.
    """
    header_path = _require_header(path)
    header = _read_header(header_path)
    _, pixels = _open_pixels(header, header_path, path)
    if pixels.shape[2] != 1:
        raise CubeError(f"{header_path.name} has {pixels.shape[2]} bands: a label map has one.")
    listed, found = header.get("class names"), _numbers(header.get("class lookup"))
    names = listed if isinstance(listed, list) else []
    levels = [] if found is None else np.clip(np.nan_to_num(found), 0, 255).astype(int).tolist()
    return Classification(
        pixels[..., 0],
        {value: name for value, name in enumerate(names) if value},
        {i // 3: (levels[i], levels[i + 1], levels[i + 2]) for i in range(0, len(levels) - 2, 3)},
    )


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a header, or of a data file with its header beside it, lazily.

    Raises:
        CubeError: the header is incomplete, of an unknown kind, or contradicts the data file.
    """
    header_path = _require_header(path)
    header = _read_header(header_path)
    if _is_classification(header):
        raise CubeError(f"{header_path.name} describes a class map, not a cube: open it as labels.")
    data_path, pixels = _open_pixels(header, header_path, path)
    return FileContents(
        data=pixels,
        band_axis=2,
        wavelengths=_numbers(header.get("wavelength")),
        wavelength_unit=_unit(header),
        fwhm=_numbers(header.get("fwhm")),
        good_bands=_numbers(header.get("bbl")),
        scale=_scale(header),
        offset=_numbers(header.get("data offset values")),
        nodata=_number(header.get("data ignore value")),
        metadata=_metadata(header, header_path, data_path),
        assumptions=_assumptions(header),
    )


def _assumptions(header: Header) -> tuple[str, ...]:
    """Return what the header does not state and how the pixels were read nevertheless."""
    found = []
    if "byte order" not in header and header.get("data type") != "1":
        found.append("The header states no byte order: the numbers were read as little-endian.")
    if "wavelength" in header and _unit(header) is None:
        found.append("The header states no unit of the wavelengths: it follows from their size.")
    return tuple(found)


def _require_header(path: Path) -> Path:
    header_path = find_header(path)
    if header_path is None:
        raise CubeError(f"{path.name} has no ENVI header beside it: put {path.stem}.hdr there.")
    return header_path


def _is_classification(header: Header) -> bool:
    return "classification" in str(header.get("file type", "")).lower()


def _open_pixels(header: Header, header_path: Path, path: Path) -> tuple[Path, Any]:
    """Open the (lines, samples, bands) numbers that a header describes, and return their file."""
    _check_kind(header, header_path)
    missing = [key for key in _REQUIRED_KEYS if key not in header]
    if missing:
        raise CubeError(f"{header_path.name} lacks '{missing[0]}': the header is incomplete.")
    shape = [_count(header, key, header_path, minimum=1) for key in ("lines", "samples", "bands")]
    offset = _count(header, "header offset", header_path, minimum=0)
    dtype = _dtype(header, header_path)
    size = offset + math.prod(shape) * dtype.itemsize
    data_path = _find_data(header_path, size) if path == header_path else path
    actual = data_path.stat().st_size
    if actual != size:
        raise CubeError(
            f"{header_path.name} describes {' × '.join(map(str, shape))} numbers of type "
            f"{dtype.newbyteorder('=')}, {size} bytes, but {data_path.name} has {actual}: "
            f"{'it is cut off' if actual < size else 'it holds more'}, or the header belongs to "
            "another file."
        )
    axes = _FILE_AXES[str(header["interleave"]).lower()]
    stored = open_array(data_path, dtype, offset, [shape[axis] for axis in axes])
    return data_path, stored.transpose([axes.index(axis) for axis in range(3)])


def _read_header(path: Path) -> dict[str, str | list[str]]:
    """Read the keys of a header, in lower case, with their values: text, or lists from {…}."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_HEADER_BYTES)
    except OSError as error:
        raise CubeError(f"{path.name} cannot be opened: {error.strerror or error}.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if starts_with(path, *_ARCGIS_FIRST_KEYS):
        return _parse_arcgis(text)
    if not text.startswith("ENVI"):
        raise CubeError(f"{path.name} does not start with ENVI: it is not an ENVI header.")
    return _parse(text, path)


def write(path: str | Path, cube: SpectralCube) -> tuple[Path, Path]:
    """Write a cube as ENVI, ``<stem>.hdr`` and ``<stem>.dat``, block by block.

    The stored numbers are written if ENVI has their type and one factor scales them; otherwise
    float32 physical values, with NaN for no data.

    Args:
        path: the header or the data file; the other one gets the same stem.
        cube: the cube.

    Returns:
        Paths of the header and the data file.

    Raises:
        OutputError: the folder cannot be written.
    """
    from spectral.io import envi

    path = Path(path)
    header_path, data_path = path.with_suffix(".hdr"), path.with_suffix(WRITTEN_SUFFIX)
    as_stored = _fits_envi(cube)
    stored_type = np.dtype(cube.data.dtype).newbyteorder("<") if as_stored else np.dtype("<f4")
    # The data replace their file first: a header without data is not left behind.
    with atomic_write(header_path) as header_file, atomic_write(data_path) as data_file:
        with data_file.open("wb") as file:
            for rows in cube.row_blocks():
                block = cube.data[rows] if as_stored else cube.read(rows)
                np.ascontiguousarray(block, stored_type).tofile(file)
        envi.write_envi_header(str(header_file), _header_of(cube, stored_type, as_stored))
    return header_path, data_path


def _parse(text: str, path: Path) -> dict[str, str | list[str]]:
    header: dict[str, str | list[str]] = {}
    lines = iter(line for line in text.splitlines()[1:] if not line.lstrip().startswith(";"))
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals:
            continue
        key, value = " ".join(key.lower().split()), value.strip()
        if not value.startswith("{"):
            header[key] = value
            continue
        while "}" not in value:
            following = next(lines, None)
            if following is None:
                raise CubeError(f"{path.name} ends within the list '{key}': it is cut off.")
            value += "\n" + following
        inner = value[1 : value.rindex("}")]
        free_text = key in ("description", "coordinate system string")
        header[key] = inner.strip() if free_text else [part.strip() for part in inner.split(",")]
    return header


def _parse_arcgis(text: str) -> dict[str, str | list[str]]:
    """Translate an ArcGIS header into ENVI keys.

    Each line holds a key and its value (``NROWS 512``); wavelengths (nm) are a block of lines.
    """
    header: dict[str, str | list[str]] = {"interleave": "bil"}
    words: dict[str, str] = {}
    wavelengths: list[str] | None = None
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key.upper() == "WAVELENGTHS":
            wavelengths = []
        elif key.upper() == "WAVELENGTHS_END":
            header["wavelength"] = wavelengths or []
            wavelengths = None
        elif wavelengths is not None:
            wavelengths.append(key)
        else:
            words[key.upper()] = value.strip()
    header.update({_ENVI_KEYS[key]: value for key, value in words.items() if key in _ENVI_KEYS})
    header["byte order"] = "1" if words.get("BYTEORDER", "I").upper().startswith("M") else "0"
    sign = {"SIGNEDINT": "S", "FLOAT": "F"}.get(words.get("PIXELTYPE", "").upper(), "U")
    header["data type"] = _ENVI_TYPES.get((words.get("NBITS", "8"), sign), "unknown")
    return header


def find_header(path: Path) -> Path | None:
    """Return the header of a data file, or a header itself; None if there is none."""
    if path.suffix.lower() == ".hdr":
        return path
    names = (f"{path.name}.hdr", f"{path.stem}.hdr", f"{path.name}.HDR", f"{path.stem}.HDR")
    # Unlike Path.is_file, os.path.isfile returns False for names that are too long.
    return next((found for name in names if os.path.isfile(found := path.with_name(name))), None)


def _find_data(header_path: Path, size: int) -> Path:
    """Return the data file beside a header: the one of the right size, else the most likely."""
    suffixes = (*DATA_SUFFIXES, *(suffix.upper() for suffix in DATA_SUFFIXES if suffix))
    candidates = [header_path.with_name(header_path.stem + suffix) for suffix in suffixes]
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]
    if not files:
        raise CubeError(
            f"{header_path.name} has no data file beside it: put {header_path.stem}.dat (or .img, "
            ".raw, .bil, .bip, .bsq) into the same folder."
        )
    return next((file for file in files if file.stat().st_size == size), files[0])


def _check_kind(header: Header, path: Path) -> None:
    kind = str(header.get("file type", "")).lower()
    if "library" in kind:
        raise CubeError(f"{path.name} describes a spectral library, not a cube.")
    if _number(header.get("file compression")):
        raise CubeError(f"{path.name} describes compressed data: save it without compression.")
    for key in ("major frame offsets", "minor frame offsets"):
        offsets = _numbers(header.get(key))
        if offsets is not None and offsets.any():
            raise CubeError(f"{path.name} uses '{key}', which are not supported.")
    interleave = str(header.get("interleave", "bsq"))
    if interleave.lower() not in ("bil", "bip", "bsq"):
        raise CubeError(
            f"{path.name} has interleave = {interleave[:20]}: it must be bil, bip or bsq."
        )


def _dtype(header: Header, path: Path) -> np.dtype[Any]:
    from spectral.io import envi

    code = str(header["data type"])
    if code not in envi.envi_to_dtype:
        raise CubeError(f"{path.name} has data type = {code[:20]}, which ENVI does not define.")
    dtype: np.dtype[Any] = np.dtype(envi.envi_to_dtype[code])
    if dtype.kind == "c":
        raise CubeError(f"{path.name} holds complex numbers: a cube needs real numbers.")
    return dtype.newbyteorder(">" if _number(header.get("byte order")) else "<")


def _unit(header: Header) -> str | None:
    """Return the unit of the wavelengths; FTIR software stores it in an axis title only."""
    unit = header.get("wavelength units")
    titles = str(header.get("z plot titles", "")).lower()
    if "raman" in f"{titles} {unit}".lower():
        return "Raman shift"  # in cm⁻¹, but no wavenumber of the light
    if unit is None and re.search(r"cm\s*\^?-1|cm⁻¹|1/cm", titles):
        return "cm-1"
    return None if unit is None else str(unit)


def _scale(header: Header) -> Any:
    factor = _number(header.get("reflectance scale factor"))
    gains = _numbers(header.get("data gain values"))
    return (1.0 if gains is None else gains) / (factor or 1.0)


def _metadata(header: Header, header_path: Path, data_path: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "format": "ENVI",
        "header": str(header_path),
        "data_file": str(data_path),
        "interleave": str(header["interleave"]).lower(),
    }
    references = find_references(data_path)
    if references.white or references.dark:
        metadata["references"] = {
            kind: str(found)
            for kind, found in (("white", references.white), ("dark", references.dark))
            if found
        }
    for key in ("description", "sensor type", "acquisition time", "acquisition date"):
        if header.get(key) not in (None, "", "Unknown"):
            metadata[key.replace(" ", "_")] = header[key]
    names = header.get("band names")
    if isinstance(names, list):
        metadata["band_names"] = tuple(names)
    found = _georeference(header)
    if found is not None:
        metadata["georeference"] = found
    return metadata | _pixel_size(header, found)


def _georeference(header: Header) -> Georeference | None:
    map_info = header.get("map info")
    wkt = header.get("coordinate system string", "")
    return from_envi(map_info, str(wkt)) if isinstance(map_info, list) else None


def _pixel_size(header: Header, georeference: Georeference | None) -> dict[str, Any]:
    """Return height and width of a pixel, if they are in metres."""
    listed = header.get("pixel size")
    if georeference is None and isinstance(listed, list) and len(listed) >= 2:
        width, height = _number(listed[0]), _number(listed[1])
        units = " ".join(listed[2:]).lower()
        if width and height and units in ("", "units=meters"):
            return {"pixel_size": (height, width), "pixel_unit": "m"}
    map_info = header.get("map info")
    if not isinstance(map_info, list) or len(map_info) < 7 or map_info[0].lower() == "arbitrary":
        return {}
    width, height = _number(map_info[5]), _number(map_info[6])
    if not width or not height or "lat" in map_info[0].lower():
        return {}
    return {"pixel_size": (height, width), "pixel_unit": "m"}


def _header_of(cube: SpectralCube, stored_type: np.dtype[Any], as_stored: bool) -> dict[str, Any]:
    from spectral.io import envi

    height, width, n_bands = cube.shape
    header: dict[str, Any] = {
        "description": "{" + cube.name.replace("}", ")") + "}",
        "samples": width,
        "lines": height,
        "bands": n_bands,
        "header offset": 0,
        "file type": "ENVI Standard",
        "data type": envi.dtype_to_envi[stored_type.newbyteorder("=").char],
        "interleave": "bip",
        "byte order": 0,
    }
    if as_stored and cube.scale != 1.0:
        header["reflectance scale factor"] = repr(1.0 / float(cube.scale))
    if as_stored and cube.nodata is not None:
        header["data ignore value"] = repr(cube.nodata)
    if cube.wavelengths is not None:
        header["wavelength units"] = "Nanometers"
        header["wavelength"] = cube.wavelengths.tolist()
    if cube.fwhm is not None:
        header["fwhm"] = cube.fwhm.tolist()
    if not cube.good_bands.all():
        header["bbl"] = cube.good_bands.astype(int).tolist()
    return header | envi_keys(cube)


def _fits_envi(cube: SpectralCube) -> bool:
    from spectral.io import envi

    native = np.dtype(cube.data.dtype).newbyteorder("=")
    one_factor = np.ndim(cube.scale) == 0 and not np.any(cube.offset)
    return bool(one_factor and native.char in envi.dtype_to_envi and native.kind in "iuf")


def _numbers(value: str | list[str] | None) -> Float64Array | None:
    """Parse a list of numbers; None if it is missing or something else."""
    if value is None:
        return None
    parts = value if isinstance(value, list) else [value]
    try:
        return np.array([float(part) for part in parts if part])
    except ValueError:
        return None


def _number(value: str | list[str] | None) -> float | None:
    numbers = _numbers(value)
    return float(numbers[0]) if numbers is not None and numbers.size == 1 else None


def _count(header: Header, key: str, path: Path, *, minimum: int) -> int:
    value = header.get(key, "0")
    try:
        number = int(str(value))
    except ValueError:
        number = minimum - 1
    if number < minimum:
        raise CubeError(f"{path.name} has {key} = {str(value)[:20]}: it must be a whole number.")
    return number


def main_file(path: Path) -> Path:
    """Return the header of a cube, given it or the data file."""
    return find_header(path) or path


READER = Reader("ENVI", (".hdr", *DATA_SUFFIXES), read, sniff, main_file=main_file)
