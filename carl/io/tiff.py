"""TIFF and its families: plain stacks, GeoTIFF, ImageJ, OME, Zeiss LSM, and those tifffile writes.

Pixels are read as they are asked for; see `carl.io.tiff_pixels`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from carl.errors import CubeError
from carl.io.reader import FileContents, Reader, starts_with
from carl.io.tiff_metadata import TiffMetadata, read_metadata
from carl.io.tiff_pixels import read_pixels

if TYPE_CHECKING:
    import tifffile

# tifffile logs what it finds odd in a file; on stderr that would stand beside our one sentence.
_LOGGER = logging.getLogger("tifffile")
_LOGGER.addHandler(logging.NullHandler())

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BAND_AXES = "CSIZTRH"
"""What the third axis may be called when it is the bands: channels, samples, pages, depth, time and
so on. tifffile's "Q" is not among them: it means that the writer did not say."""


def sniff(path: Path) -> bool:
    """Whether the file begins as a TIFF does."""
    return starts_with(path, *_SIGNATURES)


def read(path: Path, variable: str | None = None) -> FileContents:
    """The cube of a TIFF.

    Raises:
        CubeError: damaged, an image of one band, or compressed in a way that cannot be undone here.
    """
    import tifffile

    with _complaints() as complaints, tifffile.TiffFile(path) as file:
        series = _widest_series(file)
        if any("invalid page offset" in complaint for complaint in complaints):
            raise CubeError(f"{path.name} is cut off: pages at its end are missing.")
        metadata = read_metadata(file, series)
        _check_size(path, series, metadata)
        shape, band_axis = _layout(tuple(series.shape), series.axes, metadata)
        data = read_pixels(file, series, shape)
    return FileContents(
        data=data,
        band_axis=band_axis,
        band_axis_in_doubt=0,
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
def _complaints() -> Iterator[list[str]]:
    """What tifffile logs in this thread meanwhile: its only word on pages it cannot find."""
    heard: list[str] = []
    thread = get_ident()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                heard.append(record.getMessage())

    listener = Listener(logging.WARNING)
    _LOGGER.addHandler(listener)
    try:
        yield heard
    finally:
        _LOGGER.removeHandler(listener)


def _widest_series(file: tifffile.TiffFile) -> Any:
    """The series with the most bands: a cube may come with a preview."""
    return max(file.series, key=lambda series: (len(series.shape), series.size))


def _layout(
    shape: tuple[int, ...], axes: str, metadata: TiffMetadata
) -> tuple[tuple[int, ...], int | None]:
    """Shape and band axis, if the file names it; the axis of a single band is put back."""
    if len(shape) == 2:
        if metadata.shape is not None and len(metadata.shape) == 3:
            return metadata.shape, metadata.shape.index(1)
        if metadata.wavelengths is not None and np.size(metadata.wavelengths) == 1:
            return (1, *shape), 0
    others = [axis for axis in axes if axis not in "YX"]
    named = len(axes) == 3 and len(others) == 1 and others[0] in _BAND_AXES
    return shape, axes.index(others[0]) if named else None


def _check_size(path: Path, series: Any, metadata: TiffMetadata) -> None:
    """Hold what the file says of its size against what is there."""
    if metadata.size is not None and metadata.size != series.size:
        raise CubeError(
            f"{path.name} should hold {metadata.size} numbers but has {series.size}: it is cut off."
        )


READER = Reader("TIFF", (".tif", ".tiff", ".lsm"), sniff, read)
