"""What a TIFF says of its bands, in the dialects of those who write TIFFs.

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
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import tifffile


@dataclass(frozen=True, eq=False)
class TiffMetadata:
    """What a TIFF says beside its pixels; the fields are those of `FileContents`.

    `size` is the number of values there should be, `shape` the shape before axes of length one were
    dropped, both where the file tells.
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
    """The metadata of a file in whichever dialect it speaks.

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
    """GDAL numbers its bands from 0 in the attribute ``sample``."""
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

    def whole(name: str, neutral: float) -> Any:
        values = numbers(name)
        return neutral if values is None else values

    units = set(per_band.get("wavelength_units", per_band.get("wavelength_unit", {})).values())
    return TiffMetadata(
        wavelengths=numbers("wavelength"),
        wavelength_unit=units.pop() if len(units) == 1 else None,
        fwhm=numbers("fwhm"),
        good_bands=numbers("bbl"),
        scale=whole("scale", 1.0),
        offset=whole("offset", 0.0),
    )


def _from_ome(xml: str, index: int) -> TiffMetadata:
    """The image of that index among those of a file."""
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
    """All elements of that name within one, whatever their namespace."""
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
    """Height and width of a pixel in metres, of a GeoTIFF in a projection with metres."""
    tags = page.tags
    if "ModelPixelScaleTag" not in tags or not page.geotiff_tags.get("ProjectedCSTypeGeoKey"):
        return {}
    width, height, *_ = tags["ModelPixelScaleTag"].value
    return {"pixel_size": (float(height), float(width)), "pixel_unit": "m"}


def _numbers(values: Any, otherwise: Any = None) -> Any:
    """Values as float64; `otherwise` if there are none or they are no numbers."""
    if values is None:
        return otherwise
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return otherwise


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
