"""TIFF files: plain stacks, GeoTIFF, ImageJ, OME, Zeiss LSM, and those written by tifffile.

Pixels are read lazily, see `carl.io.tiff_pixels`. Metadata of the bands comes from:

=========== =====================================================================================
tifffile    JSON in ImageDescription: ``wavelengths``, ``fwhm``, ``wavelength_unit``, ``scale``,
            ``offset``, ``nodata``
GDAL        per-band items ``wavelength``, ``wavelength_units``, ``fwhm``, ``bbl``, scale, offset;
            the no-data tag
OME         ``EmissionWavelength`` of the channels
XMP         ``CentralWavelength``, ``WavelengthFWHM`` in nm, of files with a single band
ImageJ      slice labels such as "450 nm"
Zeiss LSM   edges of the lambda channels, in metres
=========== =====================================================================================
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io.georeference import from_geotiff
from carl.io.reader import (
    Choice,
    ChoiceError,
    FileContents,
    Reader,
    Variable,
    listed_briefly,
    starts_with,
)
from carl.io.size_limits import MAX_IMAGE_RATIO, check_decoded_size, check_pixels
from carl.io.tiff_pages import MAX_PAGES, SIGNATURES, follow_pages
from carl.io.tiff_pixels import read_pixels
from carl.io.views import with_axis_divided
from carl.lazy_array import ArraySource

if TYPE_CHECKING:
    import tifffile

# tifffile logs warnings about files; they should not appear beside the error message.
_LOGGER = logging.getLogger("tifffile")
_LOGGER.addHandler(logging.NullHandler())

_Fields = dict[str, Any]
"""Metadata of a TIFF by the names of the fields of `FileContents`."""
_BAND_AXES = "CSIZTRH"
"""tifffile's names of the third axis for which it can be the bands: channels, samples, pages,
depth, time and others. "Q" is not among them: it means an unknown axis."""
_AXIS_NAMES = {"Y": "y", "X": "x", "C": "channel", "S": "sample", "T": "time", "Z": "z"}
"""Names of tifffile's axes for the user; others keep their letter."""
_XMP = 700
"""Code of the tag with XMP."""
_XMP_NAMES = {"CentralWavelength": "wavelengths", "WavelengthFWHM": "fwhm"}
"""Names in the XMP of MicaSense, Parrot and others, schema pix4d.com/camera/1.0, both in nm."""


def sniff(path: Path) -> bool:
    """Return whether a file starts with the signature of TIFF."""
    return starts_with(path, *SIGNATURES)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a TIFF, or the series of pages with the name `variable`.

    Raises:
        ChoiceError: several series may be the cube.
        CubeError: the file is damaged, or compressed with an unsupported method.
    """
    chain = follow_pages(path)
    with open_tiff(path) as file:
        named = _named_series(file.series)
        series = _chosen(named, variable, path)
        found, size, stored_shape = _read_metadata(file, series)
        if size not in (None, series.size):
            raise CubeError(
                f"{path.name} should hold {size} numbers but has {series.size}: it is cut off."
            )
        if size is None or file.is_ome:  # else the pixels do not depend on the chain
            chain.check_complete()
        shape, band_axis = _layout(series, stored_shape, found.get("wavelengths"))
        if len(shape) == 2 and _XMP in series.keyframe.tags:
            found |= _from_xmp(series.keyframe.tags[_XMP].value)
        data = _read_axes(file, series, shape)
        names = [_AXIS_NAMES.get(axis, axis) for axis in series.axes]
        others = sum(each is not series for each in file.series)
    notes = (f"Other images in {path.name} were not opened: {others}.",) if others else ()
    variables = (Variable(name, tuple(s.shape), s.dtype.kind) for name, s in named.items())
    return FileContents(
        data,
        axes=tuple(names) if len(names) == len(shape) and "Q" not in names else (),
        band_axis=band_axis,
        default_band_axis=0,
        others=tuple(variables) if others else (),
        notes=notes,
        **found,
    )


def _named_series(series: Sequence[Any]) -> dict[str, Any]:
    """Return the series of pages by their names if these differ, else by their numbers from 0."""
    names = [str(each.name).strip() for each in series]
    if not all(names) or len({*names}) < len(names):
        names = [str(number) for number in range(len(series))]
    return dict(zip(names, series, strict=True))


def _chosen(named: Mapping[str, Any], name: str | None, path: Path) -> Any:
    """Return the series of a name, by default the largest one; the others may be previews.

    Raises:
        ChoiceError: several have the size of the largest one.
        CubeError: there is none of the name.
    """
    listed = {key: Variable(key, tuple(s.shape), s.dtype.kind) for key, s in named.items()}
    if name is not None:
        if name not in named:
            raise CubeError(
                f"{path.name} has no image '{name}': it holds "
                f"{listed_briefly([str(each) for each in listed.values()])}."
            )
        return named[name]
    largest = _largest([*named.values()])
    alike = [key for key, each in named.items() if each.shape == largest.shape]
    if len(alike) > 1 and len(largest.shape) > 2:
        choices = [Choice(key, str(listed[key])) for key in alike]
        raise ChoiceError(f"{path.name} holds several cubes", "variable", choices)
    return largest


def _read_axes(file: tifffile.TiffFile, series: Any, shape: tuple[int, ...]) -> ArraySource:
    """Return the pixels of a series in a shape of any number of axes, read lazily."""
    page = tuple(series.keyframe.shape)
    n_leading = len(shape) - len(page)
    if len(shape) <= 3 or n_leading < 2 or shape[n_leading:] != page:
        return read_pixels(file, series, shape)
    leading = shape[:n_leading]
    data = read_pixels(file, series, (math.prod(leading), *page))
    for axis in range(n_leading - 1, 0, -1):  # the last axis is divided first
        data = with_axis_divided(data, math.prod(leading[:axis]), leading[axis])
    return data


def read_image(path: Path) -> NDArray[Any]:
    """Read the pixels of the first image of a TIFF, in the axes of the file.

    Raises:
        CubeError: the file is damaged, does not fit into memory, or is compressed with an
            unsupported method.
    """
    follow_pages(path)
    with open_tiff(path) as file:
        series = file.series[0]
        check_pixels(path, series.size)
        check_decoded_size(path, series.nbytes, path.stat().st_size, max_ratio=MAX_IMAGE_RATIO)
        return np.asarray(read_pixels(file, series, tuple(series.shape))[...])


def _largest(series: Sequence[Any]) -> Any:
    """Return the series of pages that is the cube; a file may hold a preview as well."""
    return max(series, key=lambda each: (len(each.shape), each.size))


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a file with tifffile, which logs some errors and continues with a part of the pages.

    Raises:
        CubeError: tifffile logged an error.
    """
    import tifffile

    with _logged_errors() as errors, tifffile.TiffFile(path) as file:
        if file.is_ome and file.ome_metadata:
            _check_ome(file.ome_metadata, path)
        yield file
    if errors:
        # As "<TiffTag.fromfile> raised TiffFileError('<tifffile.TiffTag 305 @154> invalid …')".
        inner = re.sub(r"^<\S+> raised \w+\('(.*)'\)$", r"\1", " ".join(errors[0].split()))
        reason = re.sub(r"tifffile\.|[<>]| ?@\d+", "", inner)[:200]
        raise CubeError(f"{path.name} is damaged ({reason}): copy it again from its source.")


def _check_ome(xml: str, path: Path) -> None:
    """Check the number of pages that an OME description states: tifffile lists all of them."""
    try:
        images = _named(ElementTree.fromstring(xml), "Pixels")
    except ElementTree.ParseError:  # tifffile logs it
        return
    for pixels in images:
        if math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "ZCT") > MAX_PAGES:
            raise CubeError(f"{path.name} states more than {MAX_PAGES} pages: it is damaged.")


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect the errors that tifffile logs in this thread."""
    messages: list[str] = []
    thread = get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread == thread and record.levelno >= logging.ERROR:
            messages.append(record.getMessage())
        return True

    _LOGGER.addFilter(collect)
    try:
        yield messages
    finally:
        _LOGGER.removeFilter(collect)


def _layout(
    series: Any, stored_shape: tuple[int, ...] | None, wavelengths: Any
) -> tuple[tuple[int, ...], int | None]:
    """Return the shape, with the axis of a single band restored, and the named band axis."""
    shape, axes = tuple(series.shape), series.axes
    if len(shape) == 2:
        if stored_shape is not None and len(stored_shape) == 3:
            return stored_shape, stored_shape.index(1)
        if wavelengths is not None and np.size(wavelengths) == 1:
            return (1, *shape), 0
    others = [axis for axis in axes if axis not in "YX"]
    named = len(axes) == 3 and len(others) == 1 and others[0] in _BAND_AXES
    return shape, axes.index(others[0]) if named else None


def _read_metadata(
    file: tifffile.TiffFile, series: Any
) -> tuple[_Fields, int | None, tuple[int, ...] | None]:
    """Return metadata, the stated number of values, and the shape before axes were dropped."""
    page = series.keyframe
    found: _Fields = {}
    size, shape = None, None
    if file.is_lsm and file.lsm_metadata:
        found = _from_lsm(file.lsm_metadata)
    elif file.is_ome and file.ome_metadata:
        found, size = _from_ome(file.ome_metadata, file.series.index(series))
    elif file.is_imagej and file.imagej_metadata:
        found = _from_imagej(file.imagej_metadata)
        size = int(file.imagej_metadata.get("images", 1)) * page.size
    elif page.description.lstrip().startswith("{"):
        found, shape = _from_json(page.description)
        size = None if shape is None else math.prod(shape)
    elif "GDAL_METADATA" in page.tags:
        found = _from_gdal(str(page.tags["GDAL_METADATA"].value))
    if "GDAL_NODATA" in page.tags:
        found["nodata"] = _number(page.tags["GDAL_NODATA"].value)
    found["metadata"] = {"format": "TIFF", **found.get("metadata", {}), **_georeference(page)}
    return found, size, shape


def _from_json(description: str) -> tuple[_Fields, tuple[int, ...] | None]:
    try:
        content = json.loads(description)
    except (ValueError, RecursionError):
        return {}, None
    found = {
        "wavelengths": _numbers(content.get("wavelengths", content.get("wavelength"))),
        "wavelength_unit": _text(content.get("wavelength_unit", content.get("wavelength_units"))),
        "fwhm": _numbers(content.get("fwhm")),
        "scale": _numbers(content.get("scale")),
        "offset": _numbers(content.get("offset")),
        "nodata": _number(content.get("nodata")),
        "good_bands": _numbers(content.get("good_bands")),
        "metadata": {key: content[key] for key in ("description", "quantity") if key in content}
        | _stated_pixel_size(content),
    }
    return found, tuple(int(n) for n in content["shape"]) if "shape" in content else None


def _stated_pixel_size(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return height and width of a pixel as stored by `carl.io.tiff_writer`."""
    size, unit = _numbers(content.get("pixel_size")), _text(content.get("pixel_unit"))
    if size is None or unit is None or size.shape != (2,) or not np.all(size > 0):
        return {}
    return {"pixel_size": (float(size[0]), float(size[1])), "pixel_unit": unit}


def _from_gdal(xml: str) -> _Fields:
    """Parse the items of GDAL, which numbers bands from 0 in the attribute ``sample``."""
    per_band: dict[str, dict[int, str]] = {}
    try:
        items = list(ElementTree.fromstring(xml).iter("Item"))
    except ElementTree.ParseError:
        return {}
    for item in items:
        sample = item.get("sample", "")
        if sample.isdigit():
            name = (item.get("role") or item.get("name") or "").lower()
            per_band.setdefault(name, {})[int(sample)] = (item.text or "").strip()

    def numbers(name: str) -> Any:
        found = per_band.get(name)
        return _numbers([found[band] for band in sorted(found)]) if found else None

    units = set(per_band.get("wavelength_units", per_band.get("wavelength_unit", {})).values())
    return {
        "wavelengths": numbers("wavelength"),
        "wavelength_unit": units.pop() if len(units) == 1 else None,
        "fwhm": numbers("fwhm"),
        "good_bands": numbers("bbl"),
        "scale": numbers("scale"),
        "offset": numbers("offset"),
    }


def _from_xmp(content: Any) -> _Fields:
    """Parse the wavelength and the width of the only band, as elements or as attributes."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
    try:
        root = ElementTree.fromstring(text.strip("\0").strip())
    except ElementTree.ParseError:
        return {}
    found: _Fields = {}
    for element in root.iter():
        for name, value in ((element.tag, element.text), *element.attrib.items()):
            field = _XMP_NAMES.get(name.rpartition("}")[2])
            number = _number(value)
            if field is not None and number is not None and math.isfinite(number) and number > 0:
                found.setdefault(field, np.array([number]))
    return {"wavelength_unit": "nm", **found} if "wavelengths" in found else {}


def _from_ome(xml: str, index: int) -> tuple[_Fields, int | None]:
    """Parse the OME description of the image with an index, and its number of values."""
    try:
        image = _named(ElementTree.fromstring(xml), "Image")[index]
    except (ElementTree.ParseError, IndexError):
        return {}, None
    channels = _named(image, "Channel")
    centres = [channel.get("EmissionWavelength") for channel in channels]
    units = {channel.get("EmissionWavelengthUnit", "nm") for channel in channels}
    found: _Fields = {}
    if centres and None not in centres and len(units) == 1:
        found |= {"wavelengths": _numbers(centres), "wavelength_unit": units.pop()}
    for pixels in _named(image, "Pixels"):
        height, width = _number(pixels.get("PhysicalSizeY")), _number(pixels.get("PhysicalSizeX"))
        if height and width:
            unit = pixels.get("PhysicalSizeXUnit", "µm")
            found["metadata"] = {"pixel_size": (height, width), "pixel_unit": unit}
        return found, math.prod(int(pixels.get(f"Size{axis}", 1)) for axis in "XYZCT")
    return found, None


def _named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return all elements with a name, in any namespace, within an element."""
    return [found for found in element.iter() if found.tag.rpartition("}")[2] == name]


def _from_imagej(content: Mapping[str, Any]) -> _Fields:
    labels = content.get("Labels") or ()
    found = [re.search(r"(\d+(?:\.\d+)?)\s*nm\b", str(label)) for label in labels]
    centres = [float(match[1]) for match in found if match]
    if not centres or None in found:
        return {}
    return {"wavelengths": centres, "wavelength_unit": "nm"}


def _from_lsm(content: Mapping[str, Any]) -> _Fields:
    edges = np.asarray(content.get("ChannelWavelength", ()), np.float64)
    if edges.ndim != 2 or edges.shape[1] != 2 or not np.all(edges > 0):
        return {}
    first, last = edges.T
    return {"wavelengths": edges.mean(axis=1), "wavelength_unit": "m", "fwhm": last - first}


def _georeference(page: Any) -> dict[str, Any]:
    """Return the georeference of a page, and height and width of a pixel if they are in metres."""
    found = from_geotiff({tag.code: tag.value for tag in page.tags})
    if found is None:
        return {}
    metadata: dict[str, Any] = {"georeference": found}
    if found.step is not None and page.geotiff_tags.get("ProjectedCSTypeGeoKey"):
        width, height = found.step
        metadata |= {"pixel_size": (height, width), "pixel_unit": "m"}
    return metadata


def _numbers(values: Any) -> Any:
    """Convert values to float64; None if they are None or not numbers."""
    try:
        return None if values is None else np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


READER = Reader("TIFF", (".tif", ".tiff", ".lsm"), read, sniff)
