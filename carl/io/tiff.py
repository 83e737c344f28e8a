"""TIFF files: plain stacks, GeoTIFF, ImageJ, OME, Zeiss LSM, and those written by tifffile.

Pixels are read lazily, see `carl.io.tiff_pixels`. Metadata of the bands comes from:

=========== =====================================================================================
tifffile    JSON in ImageDescription: ``wavelengths``, ``fwhm``, ``wavelength_unit``, ``scale``,
            ``offset``, ``nodata``
GDAL        per-band items ``wavelength``, ``wavelength_units``, ``fwhm``, ``bbl``, scale, offset;
            the no-data tag
OME         ``EmissionWavelength`` of the channels
ImageJ      slice labels such as "450 nm"
Zeiss LSM   edges of the lambda channels, in metres
=========== =====================================================================================
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike

from carl.errors import CubeError
from carl.io.reader import FileContents, Reader, starts_with
from carl.io.tiff_pixels import read_pixels

if TYPE_CHECKING:
    import tifffile

# tifffile logs warnings about files; they should not appear beside the error message.
_LOGGER = logging.getLogger("tifffile")
_LOGGER.addHandler(logging.NullHandler())

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BAND_AXES = "CSIZTRH"
"""tifffile's names of the third axis for which it can be the bands: channels, samples, pages,
depth, time and others. "Q" is not among them: it means an unknown axis."""


def sniff(path: Path) -> bool:
    """Return whether a file starts with the signature of TIFF."""
    return starts_with(path, *_SIGNATURES)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a TIFF.

    Raises:
        CubeError: the file is damaged, a two-dimensional image, or compressed with an unsupported
            method.
    """
    import tifffile

    with _logged_warnings() as warnings, tifffile.TiffFile(path) as file:
        series = _widest_series(file)
        if any("invalid page offset" in warning for warning in warnings):
            raise CubeError(f"{path.name} is cut off: pages at its end are missing.")
        metadata = read_metadata(file, series)
        _check_size(path, series, metadata)
        shape, band_axis = _layout(tuple(series.shape), series.axes, metadata)
        data = read_pixels(file, series, shape)
    return FileContents(
        data=data,
        band_axis=band_axis,
        default_band_axis=0,
        wavelengths=metadata.wavelengths,
        wavelength_unit=metadata.wavelength_unit,
        fwhm=metadata.fwhm,
        good_bands=metadata.good_bands,
        scale=metadata.scale,
        offset=metadata.offset,
        nodata=metadata.nodata,
        metadata={"format": "TIFF", **metadata.metadata},
    )


@contextmanager
def _logged_warnings() -> Iterator[list[str]]:
    """Collect what tifffile logs in this thread: it reports missing pages in no other way."""
    warnings: list[str] = []
    thread = get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                warnings.append(record.getMessage())

    listener = Listener(logging.WARNING)
    _LOGGER.addHandler(listener)
    try:
        yield warnings
    finally:
        _LOGGER.removeHandler(listener)


def _widest_series(file: tifffile.TiffFile) -> Any:
    """Return the series with the most axes and values: a cube may come with a preview."""
    return max(file.series, key=lambda series: (len(series.shape), series.size))


def _layout(
    shape: tuple[int, ...], axes: str, metadata: TiffMetadata
) -> tuple[tuple[int, ...], int | None]:
    """Return the shape, with the axis of a single band restored, and the named band axis."""
    if len(shape) == 2:
        if metadata.shape is not None and len(metadata.shape) == 3:
            return metadata.shape, metadata.shape.index(1)
        if metadata.wavelengths is not None and np.size(metadata.wavelengths) == 1:
            return (1, *shape), 0
    others = [axis for axis in axes if axis not in "YX"]
    named = len(axes) == 3 and len(others) == 1 and others[0] in _BAND_AXES
    return shape, axes.index(others[0]) if named else None


def _check_size(path: Path, series: Any, metadata: TiffMetadata) -> None:
    """Check the number of values against that stated in the file."""
    if metadata.size is not None and metadata.size != series.size:
        raise CubeError(
            f"{path.name} should hold {metadata.size} numbers but has {series.size}: it is cut off."
        )


@dataclass(frozen=True, eq=False)
class TiffMetadata:
    """Metadata of a TIFF; most fields are those of `FileContents`.

    `size` is the stated number of values, and `shape` the shape before axes of length one were
    dropped; both are None if the file does not state them.
    """

    size: int | None = None
    shape: tuple[int, ...] | None = None
    wavelengths: ArrayLike | None = None
    wavelength_unit: str | None = None
    fwhm: ArrayLike | None = None
    good_bands: ArrayLike | None = None
    scale: ArrayLike = 1.0
    offset: ArrayLike = 0.0
    nodata: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_metadata(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> TiffMetadata:
    """Read the metadata of a file, as written by any of the programs in the module's docstring.

    Args:
        file: the open file.
        series: the cube in it.
    """
    page = series.keyframe
    if file.is_lsm and file.lsm_metadata:
        metadata = _from_lsm(file.lsm_metadata)
    elif file.is_ome and file.ome_metadata:
        metadata = _from_ome(file.ome_metadata, file.series.index(series))
    elif file.is_imagej and file.imagej_metadata:
        metadata = _from_imagej(file.imagej_metadata, page.size)
    elif page.description.lstrip().startswith("{"):
        metadata = _from_json(page.description)
    elif "GDAL_METADATA" in page.tags:
        metadata = _from_gdal(str(page.tags["GDAL_METADATA"].value))
    else:
        metadata = TiffMetadata()
    if "GDAL_NODATA" in page.tags:
        metadata = replace(metadata, nodata=_number(page.tags["GDAL_NODATA"].value))
    return replace(metadata, metadata={**metadata.metadata, **_pixel_size(page)})


def _from_json(description: str) -> TiffMetadata:
    try:
        content = json.loads(description)
    except (ValueError, RecursionError):
        return TiffMetadata()
    shape = tuple(int(n) for n in content["shape"]) if "shape" in content else None
    return TiffMetadata(
        size=None if shape is None else math.prod(shape),
        shape=shape,
        wavelengths=_numbers(content.get("wavelengths", content.get("wavelength"))),
        wavelength_unit=_text(content.get("wavelength_unit", content.get("wavelength_units"))),
        fwhm=_numbers(content.get("fwhm")),
        scale=_numbers(content.get("scale"), 1.0),
        offset=_numbers(content.get("offset"), 0.0),
        nodata=_number(content.get("nodata")),
        metadata={key: content[key] for key in ("description", "quantity") if key in content},
    )


def _from_gdal(xml: str) -> TiffMetadata:
    """Parse the items of GDAL, which numbers bands from 0 in the attribute ``sample``."""
    per_band: dict[str, dict[int, str]] = {}
    try:
        items = list(ElementTree.fromstring(xml).iter("Item"))
    except ElementTree.ParseError:
        return TiffMetadata()
    for item in items:
        sample = item.get("sample", "")
        if sample.isdigit():
            name = (item.get("role") or item.get("name") or "").lower()
            per_band.setdefault(name, {})[int(sample)] = (item.text or "").strip()

    def numbers(name: str) -> Any:
        found = per_band.get(name, {})
        return _numbers([found[band] for band in sorted(found)]) if found else None

    def numbers_or(name: str, default: float) -> Any:
        values = numbers(name)
        return default if values is None else values

    units = set(per_band.get("wavelength_units", per_band.get("wavelength_unit", {})).values())
    return TiffMetadata(
        wavelengths=numbers("wavelength"),
        wavelength_unit=units.pop() if len(units) == 1 else None,
        fwhm=numbers("fwhm"),
        good_bands=numbers("bbl"),
        scale=numbers_or("scale", 1.0),
        offset=numbers_or("offset", 0.0),
    )


def _from_ome(xml: str, index: int) -> TiffMetadata:
    """Parse the OME description of the image with an index."""
    try:
        images = _named(ElementTree.fromstring(xml), "Image")
    except ElementTree.ParseError:
        return TiffMetadata()
    if index >= len(images):
        return TiffMetadata()
    image = images[index]
    channels = _named(image, "Channel")
    centres = [channel.get("EmissionWavelength") for channel in channels]
    units = {channel.get("EmissionWavelengthUnit", "nm") for channel in channels}
    known = bool(centres) and None not in centres and len(units) == 1
    pixels = next(iter(_named(image, "Pixels")), None)
    return TiffMetadata(
        size=None if pixels is None else math.prod(int(pixels.get(f"Size{a}", 1)) for a in "XYZCT"),
        wavelengths=_numbers(centres) if known else None,
        wavelength_unit=units.pop() if known else None,
        metadata={} if pixels is None else _ome_pixel_size(pixels),
    )


def _named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return all elements with a name, in any namespace, within an element."""
    return [found for found in element.iter() if found.tag.rpartition("}")[2] == name]


def _ome_pixel_size(pixels: ElementTree.Element) -> dict[str, Any]:
    height, width = _number(pixels.get("PhysicalSizeY")), _number(pixels.get("PhysicalSizeX"))
    if not height or not width:
        return {}
    unit = pixels.get("PhysicalSizeXUnit", "µm")
    return {"pixel_size": (height, width), "pixel_unit": unit}


def _from_imagej(content: Mapping[str, Any], page_size: int) -> TiffMetadata:
    size = int(content.get("images", 1)) * page_size
    labels = content.get("Labels")
    found = [re.search(r"(\d+(?:\.\d+)?)\s*nm\b", str(label)) for label in labels or ()]
    centres = [float(match[1]) for match in found if match]
    if not centres or None in found:
        return TiffMetadata(size=size)
    return TiffMetadata(size=size, wavelengths=centres, wavelength_unit="nm")


def _from_lsm(content: Mapping[str, Any]) -> TiffMetadata:
    edges = np.asarray(content.get("ChannelWavelength", ()), np.float64)
    if edges.ndim != 2 or edges.shape[1] != 2 or not np.all(edges > 0):
        return TiffMetadata()
    return TiffMetadata(
        wavelengths=edges.mean(axis=1), wavelength_unit="m", fwhm=edges[:, 1] - edges[:, 0]
    )


def _pixel_size(page: Any) -> dict[str, Any]:
    """Return height and width of a pixel, if the GeoTIFF is in a projection in metres."""
    tags = page.tags
    if "ModelPixelScaleTag" not in tags or not page.geotiff_tags.get("ProjectedCSTypeGeoKey"):
        return {}
    width, height, *_ = tags["ModelPixelScaleTag"].value
    return {"pixel_size": (float(height), float(width)), "pixel_unit": "m"}


def _numbers(values: Any, default: Any = None) -> Any:
    """Convert values to float64; `default` if they are None or not numbers."""
    if values is None:
        return default
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return default


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


READER = Reader("TIFF", (".tif", ".tiff", ".lsm"), sniff, read)
