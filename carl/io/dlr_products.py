"""Products of DESIS and EnMAP: a GeoTIFF of all bands beside the metadata of these as XML.

The names of the files are those of the product, with the endings ``-SPECTRAL_IMAGE.TIF`` (EnMAP
L1B: ``-SPECTRAL_IMAGE_VNIR.TIF`` and ``-SPECTRAL_IMAGE_SWIR.TIF``) and ``-METADATA.XML``. For each
band the metadata hold centre and width (nm), gain and offset: value = number × gain + offset.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np

from carl.errors import CubeError
from carl.files import read_text
from carl.io import tiff
from carl.io.assembly import band_axis
from carl.io.joined_bands import JoinedBands, by_wavelength
from carl.io.reader import FileContents, Reader

_IMAGE = re.compile(r"(.+)-SPECTRAL_IMAGE(?:_(VNIR|SWIR))?\.TIFF?", re.IGNORECASE)
_MAX_METADATA_BYTES = 32 << 20
"""Largest size of the metadata, which list the response of each band."""
_MAX_FILES = 10_000
"""Most names in a folder that are searched."""
_NAMES = {
    "wavelengths": ("wavelengthCenterOfBand",),
    "fwhm": ("FWHMOfBand", "wavelengthWidthOfBand"),
    "scale": ("GainOfBand", "gainOfBand"),
    "offset": ("OffsetOfBand", "offsetOfBand"),
}
"""Names of elements, of EnMAP and of DESIS, by fields of `FileContents`."""


def is_product(path: Path) -> bool:
    """Return whether a file is the image of a product, with the metadata beside it."""
    return tiff.sniff(path) and _metadata_of(path) is not None


def is_product_folder(path: Path) -> bool:
    """Return whether a folder holds the image of a product."""
    return bool(_images(path))


def main_file(path: Path) -> Path:
    """Return the image of a product, given it or its folder; the folder if it has several."""
    images = _images(path) if os.path.isdir(path) else [path]
    return images[0] if len(images) == 1 else path


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a product, with its bands in the order of their wavelengths.

    Args:
        path: the image, or the folder of the product.
        variable: not used.

    Raises:
        CubeError: the folder holds several images, or the metadata are damaged.
    """
    image = main_file(path)
    metadata = _metadata_of(image)
    if metadata is None:
        names = ", ".join(each.name for each in _images(path)[:8])
        raise CubeError(f"{path.name} holds several images, {names}: open one of them.")
    contents = tiff.read(image)
    if len(contents.data.shape) != 3:
        return contents
    match = _IMAGE.fullmatch(image.name)
    stated = _stated(metadata)
    n_stated = stated["wavelengths"].size
    axis = band_axis(contents, n_stated)
    n_bands = contents.data.shape[axis]
    if match and match[2] and n_bands < n_stated:  # the metadata list those of VNIR first
        part = slice(n_bands) if match[2].upper() == "VNIR" else slice(n_stated - n_bands, None)
        stated = {name: values[part] for name, values in stated.items()}
    if stated["wavelengths"].size != n_bands:
        note = f"{metadata.name} was ignored: it lists {n_stated} for {n_bands} bands."
        return replace(contents, notes=(*contents.notes, note))
    return _ordered(contents, axis, stated)


def _ordered(contents: FileContents, axis: int, stated: dict[str, Any]) -> FileContents:
    """Return the contents with the bands in the order of their wavelengths, and what is stated."""
    centres = stated["wavelengths"]
    if not np.all(np.isfinite(centres) & (centres > 0)):
        return replace(contents, band_axis=axis, wavelength_unit="nm", **stated)
    data = np.moveaxis(cast(Any, contents.data), axis, -1)
    metadata, notes = dict(contents.metadata), contents.notes
    breaks = np.flatnonzero(np.diff(centres) < 0)
    if breaks.size:
        bands = by_wavelength(centres, [centres.size])
        data, order = JoinedBands([data], bands), bands[:, 1]
        stated = {name: values[order] for name, values in stated.items()}
        if breaks.size == 1:
            first = int(breaks[0]) + 1
            metadata["detectors"] = tuple("VNIR" if band < first else "SWIR" for band in order)
            low, high = centres[first], centres[first - 1]
            notes += (
                "The bands of the detectors VNIR and SWIR are in the order of their wavelengths; "
                f"both record {low:.0f}–{high:.0f} nm.",
            )
    return replace(
        contents, data=data, band_axis=2, wavelength_unit="nm", metadata=metadata, notes=notes,
        **stated,
    )  # fmt: skip


def _metadata_of(image: Path) -> Path | None:
    """Return the metadata beside an image; None if there are none."""
    match = _IMAGE.fullmatch(image.name)
    if match is None:
        return None
    names = (f"{match[1]}-METADATA{ending}" for ending in (".XML", ".xml"))
    return next((found for name in names if os.path.isfile(found := image.with_name(name))), None)


def _images(folder: Path) -> list[Path]:
    """Return the images with metadata in a folder; none if it cannot be listed or is too large."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_MAX_FILES), entries, strict=False)]
    except OSError:
        return []
    images = (folder / name for name in sorted(names) if _IMAGE.fullmatch(name))
    return [image for image in images if is_product(image)]


def _stated(path: Path) -> dict[str, Any]:
    """Return what the metadata state, one number per band; NaN where there is none.

    Raises:
        CubeError: the metadata cannot be read, or list no bands.
    """
    try:
        root = ElementTree.fromstring(read_text(path, _MAX_METADATA_BYTES))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise CubeError(f"{path.name} cannot be read as XML ({error}): copy it again.") from error
    listed = next(root.iter("bandCharacterisation"), None)
    bands = [] if listed is None else [*listed.iter("bandID"), *listed.iter("band")]
    if not bands:
        raise CubeError(f"{path.name} describes no bands: it is damaged, or of another product.")

    def number(band: ElementTree.Element, names: tuple[str, ...]) -> float:
        texts = [band.findtext(name) for name in names]
        try:
            return float(next(text for text in texts if text))
        except (StopIteration, ValueError):
            return float("nan")

    return {
        field: np.array([number(band, names) for band in bands]) for field, names in _NAMES.items()
    }


READER = Reader("DESIS or EnMAP", (".tif", ".tiff"), read, is_product, is_product_folder, main_file)
