"""Position and size of pixels: read from ENVI and GeoTIFF metadata and written to either.

Readers store both in the metadata of a cube: ``georeference``, a `Georeference`, ``pixel_size``,
height and width of a pixel, and ``pixel_unit``. A file of the same format gets the georeference
as it was. The other one gets it if the pixels are aligned with the axes of WGS 84, geographic or
UTM, the systems that both formats name without a list of all projections. Otherwise it gets the
position of the pixels without the coordinate system.

Sources: the ENVI header format (map info, pixel size), and OGC 19-008r4 (GeoTIFF 1.1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from carl.cube import SpectralCube

_METRES = {
    "m": 1.0, "meters": 1.0, "metres": 1.0, "meter": 1.0, "cm": 1e-2, "mm": 1e-3, "µm": 1e-6,
    "μm": 1e-6, "um": 1e-6, "micron": 1e-6, "microns": 1e-6, "micrometer": 1e-6, "nm": 1e-9,
    "km": 1e3,
}  # fmt: skip
"""Length of units of pixels, by their names in lower case."""

_WGS84 = 4326
_UTM_NORTH, _UTM_SOUTH = 32600, 32700
"""EPSG codes of WGS 84, and of its UTM zone 0 in the north and the south."""
_MODEL_TYPE, _RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1024, 1025, 2048, 3072
"""GeoKeys: model type, raster type, code of the geographic and of the projected system."""
_SCALE, _TIE_POINT, _TRANSFORMATION, _DIRECTORY, _DOUBLES, _TEXTS = (
    33550, 33922, 34264, 34735, 34736, 34737,
)  # fmt: skip
"""TIFF tags of GeoTIFF."""
_MAX_VALUES = 4096
"""Most values of a tag that is stored: several times those of any coordinate system."""


@dataclass(frozen=True)
class Georeference:
    """Position of the pixels of a cube on the Earth.

    Attributes:
        corner: x and y of the outer corner of the first pixel; None if the pixels are not aligned
            with the axes.
        step: distance between columns, in x, and between rows, in y and positive to the south.
        epsg: EPSG code of the coordinate system, or None if it is not known by its code.
        map_info: as in an ENVI header, or empty.
        wkt: coordinate system as text, as in an ENVI header, or empty.
        tags: number and values of the tags of a GeoTIFF, or empty.
    """

    corner: tuple[float, float] | None
    step: tuple[float, float] | None
    epsg: int | None = None
    map_info: tuple[str, ...] = ()
    wkt: str = ""
    tags: tuple[tuple[int, Any], ...] = ()


def from_envi(map_info: Sequence[str], wkt: str = "") -> Georeference | None:
    """Return the georeference in an ENVI header; None if it has none.

    Args:
        map_info: projection, pixel (x, y) from 1, its coordinates, width and height of a pixel,
            then zone, hemisphere, datum and units where they apply.
        wkt: of ``coordinate system string``.

    Examples:
        >>> found = from_envi("UTM, 1, 1, 4e5, 5e6, 30, 30, 32, North, WGS-84".split(", "))
        >>> found.corner, found.step, found.epsg
        ((400000.0, 5000000.0), (30.0, 30.0), 32632)
    """
    if len(map_info) < 7:
        return None
    numbers = [_finite(value) for value in map_info[1:7]]
    if None in numbers:
        return None
    column, row, x, y, width, height = (float(value) for value in numbers if value is not None)
    rotation = next((each for each in map_info if each.lower().startswith("rotation")), "=0")
    is_aligned = _finite(rotation.partition("=")[2]) == 0 and width > 0 and height > 0
    corner = (x - (column - 1) * width, y + (row - 1) * height) if is_aligned else None
    step = (width, height) if is_aligned else None
    return Georeference(corner, step, _epsg_of_envi(map_info, wkt), tuple(map_info), wkt)


def from_geotiff(tags: dict[int, Any]) -> Georeference | None:
    """Return the georeference in the tags of a TIFF; None if it has none.

    Args:
        tags: values of all tags by their numbers.
    """
    numbers = (_SCALE, _TIE_POINT, _TRANSFORMATION, _DIRECTORY, _DOUBLES, _TEXTS)
    found = {number: _plain(tags[number]) for number in numbers if number in tags}
    if not ({_SCALE, _TIE_POINT} <= found.keys() or _TRANSFORMATION in found):
        return None
    if any(value is None for value in found.values()):
        return None
    keys = _geo_keys(found.get(_DIRECTORY, ()))
    code = keys.get(_PROJECTED) or keys.get(_GEOGRAPHIC)
    epsg = code if code is not None and 1024 <= code < 32767 else None
    corner, step = _aligned(found)
    if corner is not None and step is not None and keys.get(_RASTER_TYPE) == 2:
        # The tie point is the centre of a pixel.
        corner = (corner[0] - step[0] / 2, corner[1] + step[1] / 2)
    return Georeference(corner, step, epsg, tags=tuple(found.items()))


def pixel_size_in(cube: SpectralCube | None, unit: str) -> tuple[float, float] | None:
    """Return height and width of the pixels of a cube in a unit; None if they are unknown."""
    if cube is None or "pixel_size" not in cube.metadata:
        return None
    metres = _METRES.get(str(cube.metadata.get("pixel_unit", "")).lower())
    if metres is None:
        return None
    height, width = (_finite(length) for length in cube.metadata["pixel_size"])
    if not height or not width:
        return None
    ratio = metres / _METRES[unit]
    # Rounded, so that 0.65 µm does not become 0.00065000000000000001 mm.
    return float(f"{height * ratio:.12g}"), float(f"{width * ratio:.12g}")


def envi_keys(cube: SpectralCube | None) -> dict[str, Any]:
    """Return the keys of an ENVI header for the georeference or the pixel size of a cube."""
    georeference = None if cube is None else cube.metadata.get("georeference")
    keys: dict[str, Any] = {}
    if isinstance(georeference, Georeference):
        info = georeference.map_info or _map_info(georeference)
        if info:
            keys["map info"] = list(info)
        if georeference.wkt:
            keys["coordinate system string"] = [georeference.wkt]
    size = pixel_size_in(cube, "m")
    if "map info" not in keys and size is not None:
        keys["pixel size"] = [repr(size[1]), repr(size[0]), "units=Meters"]
    return keys


def geotiff_tags(cube: SpectralCube | None) -> list[tuple[int, str, int, Any, bool]]:
    """Return the tags of a GeoTIFF for a cube, as tifffile takes them; empty if it has none."""
    georeference = None if cube is None else cube.metadata.get("georeference")
    if not isinstance(georeference, Georeference):
        return []
    tags = dict(georeference.tags) or _geotiff_values(georeference)
    kinds = {_DIRECTORY: "H", _TEXTS: "s"}
    return [
        (number, kinds.get(number, "d"), 0 if number == _TEXTS else len(value), value, True)
        for number, value in tags.items()
    ]


def resolution(cube: SpectralCube | None) -> dict[str, Any]:
    """Return arguments of tifffile for the size of the pixels of a cube; empty if unknown."""
    size = pixel_size_in(cube, "cm")
    if size is None or geotiff_tags(cube):
        return {}
    return {"resolution": (1 / size[1], 1 / size[0]), "resolutionunit": "CENTIMETER"}


def _epsg_of_envi(map_info: Sequence[str], wkt: str) -> int | None:
    stated = re.search(r'AUTHORITY\["EPSG",\s*"?(\d{4,5})"?\]\]\s*$', wkt, re.IGNORECASE)
    if stated:
        return int(stated[1])
    words = [each.strip().lower() for each in map_info]
    if not any(re.fullmatch(r"wgs[-_ ]?(19)?84", word) for word in words):
        return None
    if words[0] == "geographic lat/lon":
        return _WGS84
    zone = _finite(words[7]) if len(words) > 8 else None
    if words[0] != "utm" or zone is None or not 1 <= zone <= 60:
        return None
    return (_UTM_SOUTH if words[8].startswith("s") else _UTM_NORTH) + int(zone)


def _map_info(georeference: Georeference) -> tuple[str, ...]:
    """Return the map info of an aligned georeference; empty if it is not aligned."""
    if georeference.corner is None or georeference.step is None:
        return ()
    numbers = tuple(repr(value) for value in (*georeference.corner, *georeference.step))
    epsg = georeference.epsg or 0
    if epsg == _WGS84:
        return ("Geographic Lat/Lon", "1", "1", *numbers, "WGS-84", "units=Degrees")
    for first, hemisphere in ((_UTM_NORTH, "North"), (_UTM_SOUTH, "South")):
        if first < epsg <= first + 60:
            zone = str(epsg - first)
            return ("UTM", "1", "1", *numbers, zone, hemisphere, "WGS-84", "units=Meters")
    return ("Arbitrary", "1", "1", *numbers)


def _geotiff_values(georeference: Georeference) -> dict[int, Any]:
    if georeference.corner is None or georeference.step is None:
        return {}
    values: dict[int, Any] = {
        _SCALE: (*georeference.step, 0.0),
        _TIE_POINT: (0.0, 0.0, 0.0, *georeference.corner, 0.0),
    }
    epsg = georeference.epsg
    if epsg is not None:
        is_geographic = 4000 <= epsg < 5000
        code = _GEOGRAPHIC if is_geographic else _PROJECTED
        entries = (_MODEL_TYPE, 0, 1, 2 if is_geographic else 1, _RASTER_TYPE, 0, 1, 1, code, 0, 1)
        values[_DIRECTORY] = (1, 1, 0, 3, *entries, epsg)
    return values


def _aligned(
    found: dict[int, Any],
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Return corner and step of the tags of a GeoTIFF; None for both if it is not aligned."""
    if _TRANSFORMATION in found:
        matrix = found[_TRANSFORMATION]
        if len(matrix) != 16 or matrix[1] or matrix[4] or matrix[0] <= 0 or matrix[5] >= 0:
            return None, None
        return (matrix[3], matrix[7]), (matrix[0], -matrix[5])
    scale, tie = found[_SCALE], found[_TIE_POINT]
    if len(scale) < 2 or len(tie) != 6 or scale[0] <= 0 or scale[1] <= 0:
        return None, None
    column, row, _, x, y, _ = tie
    return (x - column * scale[0], y + row * scale[1]), (scale[0], scale[1])


def _geo_keys(directory: Sequence[Any]) -> dict[int, int]:
    """Return the keys of a GeoKey directory whose values are in it."""
    entries = (directory[i : i + 4] for i in range(4, len(directory) - 3, 4))
    return {int(key): int(value) for key, location, _, value in entries if location == 0}


def _plain(value: Any) -> Any:
    """Return the value of a tag as text or a tuple of finite numbers; None if it is neither."""
    if isinstance(value, str):
        return value if len(value) <= _MAX_VALUES else None
    values = value if isinstance(value, Sequence) else (value,)
    numbers = tuple(values) if len(values) <= _MAX_VALUES else ()
    is_number = all(isinstance(each, int | float) and isfinite(each) for each in numbers)
    return numbers if numbers and is_number else None


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
