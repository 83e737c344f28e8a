"""Zeiss CZI files: lambda stacks, whose channels are the bands. Reading is lazy.

Wavelengths come from the detection ranges of the channels, else from their emission wavelengths,
both in nm (elements ``DetectionWavelength/Ranges`` and ``EmissionWavelength`` of the metadata).
Blocks of pixels that are compressed, and images of pyramids, are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import DTypeLike, NDArray

from carl.errors import CubeError
from carl.io.axes import arrange
from carl.io.bounded_file import BoundedFile
from carl.io.reader import FileContents, Reader, starts_with
from carl.lazy_array import Block, LazyArray
from carl.mapped_files import FileArray, SharedFile

SIGNATURE = b"ZISRAWFILE"
_MAX_BLOCKS = 1 << 16
"""Most blocks of pixels of a file."""
_MAX_GAPS = 8
"""Largest ratio of the pixels of an image to those of its blocks: tiled images have gaps."""
_AXES = {
    "T": "time", "Z": "z", "S": "scene", "R": "rotation", "H": "phase", "V": "view",
    "I": "illumination", "B": "block",
}  # fmt: skip
"""Names of axes by their letter in the file."""
_RANGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*")
"""A detection range; several ones, separated by commas, have no centre."""


@dataclass(frozen=True)
class _Tile:
    """A block of pixels: position and shape along the axes of the file, and its pixels."""

    start: tuple[int, ...]
    pixels: FileArray


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the lambda stack of a file.

    Raises:
        CubeError: the package czifile is missing; the file is damaged, compressed or in colour; or
            it holds several times, depths or scenes.
    """
    try:
        import czifile
    except ImportError as error:
        raise CubeError(
            f"{path.name} needs one more package to be read: pip install czifile."
        ) from error
    with BoundedFile(path) as file, czifile.CziFile(file) as opened:
        entries = [each for each in opened.subblock_directory if each.pyramid_type == 0]
        _check(entries, path)
        axes = entries[0].axes[:-1]  # without that of the samples
        pixels = _tiled(entries, path)
        xml = opened.metadata() or ""
    data, band_axis, axes = arrange(pixels, [_AXES.get(axis, axis) for axis in axes], path)
    return FileContents(
        data=data,
        band_axis=band_axis,
        axes=axes,
        metadata={"format": "CZI", **_pixel_size(xml)},
        **_wavelengths(xml),
    )


def _check(entries: Sequence[Any], path: Path) -> None:
    """Check that the blocks of pixels are of one kind that can be read."""
    if not 0 < len(entries) <= _MAX_BLOCKS:
        raise CubeError(
            f"{path.name} has {len(entries)} blocks of pixels, not 1 to {_MAX_BLOCKS}: it is "
            "damaged, or has no image."
        )
    first = entries[0]
    if first.shape[-1] != 1 or np.dtype(first.dtype).kind not in "uif":
        raise CubeError(f"{path.name} is an image in colour: save its channels separately in ZEN.")
    for each in entries:
        if (each.axes, each.dtype) != (first.axes, first.dtype):
            raise CubeError(f"{path.name} has blocks of different axes or types: it is damaged.")
        if each.compression:
            raise CubeError(
                f"{path.name} is compressed, which is not supported: save it without compression "
                "in ZEN."
            )
        if each.stored_shape != each.shape or min(each.shape) < 1:
            raise CubeError(f"{path.name} has blocks of another resolution: save the full image.")


def _tiled(entries: Sequence[Any], path: Path) -> LazyArray:
    """Return the pixels of all blocks along the axes of the file."""
    file = SharedFile(path)
    dtype = np.dtype(entries[0].dtype)
    origin = np.min([each.start[:-1] for each in entries], axis=0)
    ends = [np.add(each.start, each.shape)[:-1] for each in entries]
    tiles = []
    for each in entries:
        shape = each.shape[:-1]
        strides = dtype.itemsize * np.cumprod([1, *shape[:0:-1]])[::-1]
        offset = each.data_segment().data_offset
        start = tuple(int(n) for n in np.subtract(each.start[:-1], origin))
        tiles.append(_Tile(start, FileArray(file, dtype, offset, shape, strides.tolist())))
    shape = (np.max(ends, axis=0) - origin).tolist()
    if math.prod(shape) > _MAX_GAPS * sum(tile.pixels.size for tile in tiles):
        raise CubeError(
            f"{path.name} states {' × '.join(map(str, shape))} pixels and holds few of them: it is "
            "damaged, or has large gaps."
        )
    return _TiledArray(shape, dtype, tiles)


class _TiledArray(LazyArray):
    """An array whose pixels are in several blocks; 0 where there is none."""

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, tiles: Sequence[_Tile]) -> None:
        super().__init__(shape, dtype)
        self._tiles = list(tiles)

    def _read_block(self, block: Block) -> NDArray[Any]:
        spans = [range(n)[part] for n, part in zip(self.shape, block, strict=True)]
        values = np.zeros([len(span) for span in spans], self.dtype)
        for tile in self._tiles:
            inside, target = [], []
            for span, start, length in zip(spans, tile.start, tile.pixels.shape, strict=True):
                first = max(0, -((span.start - start) // span.step))
                stop = min(len(span), -((span.start - start - length) // span.step))
                target.append(slice(first, max(first, stop)))
                at = span.start + first * span.step - start
                inside.append(slice(at, at + max(0, stop - first) * span.step, span.step))
            if all(part.start < part.stop for part in target):
                values[tuple(target)] = tile.pixels[tuple(inside)]
        return values


def _wavelengths(xml: str) -> dict[str, Any]:
    """Return centres and widths of the channels, by the names of fields of `FileContents`."""
    channels = _elements(xml, "./Metadata/Information/Image/Dimensions/Channels/Channel")
    ranges = [
        _RANGE.fullmatch(each.findtext("DetectionWavelength/Ranges", "")) for each in channels
    ]
    if ranges and None not in ranges:
        edges = np.array([match.groups() for match in ranges if match], np.float64)
        return {
            "wavelengths": edges.mean(axis=1),
            "fwhm": edges[:, 1] - edges[:, 0],
            "wavelength_unit": "nm",
        }
    emission = [each.findtext("EmissionWavelength") for each in channels]
    try:
        centres = [float(text) for text in emission if text]
    except ValueError:
        return {}
    is_complete = bool(centres) and len(centres) == len(channels)
    return {"wavelengths": centres, "wavelength_unit": "nm"} if is_complete else {}


def _pixel_size(xml: str) -> dict[str, Any]:
    """Return height and width of a pixel, which the metadata give in metres, in µm."""
    sizes = {
        each.get("Id"): each.findtext("Value")
        for each in _elements(xml, "./Metadata/Scaling/Items/Distance")
    }
    try:
        height, width = (1e6 * float(sizes[axis] or "") for axis in "YX")
    except (KeyError, ValueError):
        return {}
    return {"pixel_size": (height, width), "pixel_unit": "µm"} if height and width else {}


def _elements(xml: str, path: str) -> list[ElementTree.Element]:
    try:
        return ElementTree.fromstring(xml.strip("\0 \n")).findall(path)
    except (ElementTree.ParseError, ValueError):
        return []


READER = Reader("CZI", (".czi",), read, lambda path: starts_with(path, SIGNATURE))
