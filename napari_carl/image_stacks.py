"""Spectral cubes from images with a band axis that other readers, or napari itself, have opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import CarlError, CubeError, WavelengthError
from carl.io.series import wavelengths_of_names
from carl.lazy_array import Block, LazyArray
from carl.memory_cache import MemoryCache
from carl.wavelengths import describe_wavelengths, unusual_wavelengths, wavelengths_in_nm

_MIN_BANDS = 2
_CACHED_BYTES = 1 << 29
"""Memory of the decoded bands of one stack. A band is often a compressed file of its own, which
would be decoded again for every block of rows."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_METADATA_KEYS = ("wavelengths", "wavelength", "wavelengths_nm", "wavelength_nm")
_METADATA_UNIT_KEYS = ("wavelength_units", "wavelength_unit")


@dataclass(frozen=True, eq=False)
class ImageStack:
    """An image with three axes, one of which may be that of the bands.

    Attributes:
        name: display name.
        data: array-like with three axes, read when indexed.
        band_axis: 0 or 2.
        path: the file or the folder it was read from, the first file of a stack; None if unknown.
        metadata: metadata stored with it by whoever opened it.
    """

    name: str
    data: Any
    band_axis: int
    path: Path | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, bands)."""
        height, width = (n for axis, n in enumerate(self.data.shape) if axis != self.band_axis)
        return int(height), int(width), int(self.data.shape[self.band_axis])


def find_band_axis(shape: Sequence[int], path: Path | None = None) -> int | None:
    """Return the axis of an image that may be that of the bands, or None if there is none.

    It is the first or the last one, the shorter of the two. napari stacks files along the first
    one, which therefore is taken for folders and where both are equally long.

    Args:
        shape: lengths of the axes.
        path: file or folder the image was read from.

    Examples:
        >>> find_band_axis((31, 512, 512)), find_band_axis((512, 512, 31)), find_band_axis((9, 9))
        (0, 2, None)
    """
    if len(shape) != 3 or 0 in shape:
        return None
    is_folder = path is not None and path.is_dir()
    axis = 0 if is_folder or shape[0] <= shape[2] else 2
    return axis if shape[axis] >= _MIN_BANDS else None


def cube_of(stack: ImageStack) -> SpectralCube:
    """Return the cube of an image; lazy data are read when the cube is.

    Wavelengths are taken from the metadata, else from the names of the stacked files; otherwise
    they are unknown.

    Raises:
        CubeError: the values are not real numbers.
    """
    data = stack.data
    if isinstance(data, np.ndarray):
        pixels: Any = np.moveaxis(data, stack.band_axis, -1)
    else:
        pixels = StackedPixels(data, stack.band_axis, stack.name)
    found = _wavelengths_of_metadata(stack) or _wavelengths_of_files(stack)
    metadata: dict[str, Any] = {"notes": ()}
    if found is None:
        return SpectralCube(pixels, name=stack.name, metadata=metadata)
    nm, source = found
    metadata["wavelength_source"] = source
    note = f"The wavelengths, {describe_wavelengths(nm)}, are from {source}."
    metadata["notes"] = tuple(text for text in (note, unusual_wavelengths(nm)) if text)
    return SpectralCube(pixels, nm, name=stack.name, metadata=metadata)


class StackedPixels(LazyArray):
    """The (height, width, bands) pixels of an array-like image, read when indexed.

    Args:
        source: array-like with three axes.
        band_axis: 0 or 2.
        name: display name, for messages.

    Examples:
        >>> import numpy as np
        >>> pixels = StackedPixels(np.arange(24).reshape(2, 3, 4), 0, "two bands")
        >>> pixels.shape, pixels[1, 2]
        ((3, 4, 2), array([ 6, 18]))
    """

    def __init__(self, source: Any, band_axis: int, name: str) -> None:
        lengths = [n for axis, n in enumerate(source.shape) if axis != band_axis]
        super().__init__((*lengths, source.shape[band_axis]), source.dtype)
        self._source = source
        self._band_axis = band_axis
        self._name = name
        self._bands: MemoryCache[int, NDArray[Any]] = MemoryCache(
            _CACHED_BYTES, lambda band: band.nbytes
        )

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, columns, bands = block
        if self._band_axis == 2:
            return self._read(block, _shape_of(block))
        height, width, _ = self.shape
        values = np.empty(_shape_of(block), self.dtype)
        for index, band in enumerate(range(bands.start, bands.stop, bands.step)):
            if height * width * self.dtype.itemsize > _CACHED_BYTES:
                values[..., index] = self._read((band, rows, columns), values.shape[:2])
            else:
                values[..., index] = self._band(band)[rows, columns]
        return values

    def _band(self, band: int) -> NDArray[Any]:
        return self._bands.get(band, lambda: self._read((band,), self.shape[:2]))

    def _read(self, key: tuple[Any, ...], shape: tuple[int, ...]) -> NDArray[Any]:
        try:
            values = np.asarray(self._source[key])
        except CarlError:
            raise
        except Exception as error:  # whatever the code raises that reads the image
            raise CubeError(
                f"{self._name} cannot be read ({type(error).__name__}: {error}): check that its "
                "files are still there and of one size."
            ) from error
        if values.shape != shape:
            raise CubeError(
                f"A part of {self._name} has the shape {values.shape} instead of {shape}: check "
                "that its files are all of one size."
            )
        return values


def _shape_of(block: Block) -> tuple[int, ...]:
    return tuple(len(range(part.start, part.stop, part.step)) for part in block)


# ---- wavelengths


def _wavelengths_of_metadata(stack: ImageStack) -> tuple[Float64Array, str] | None:
    metadata = stack.metadata or {}
    key = next((key for key in _METADATA_KEYS if key in metadata), None)
    if key is None:
        return None
    unit = next((metadata[key] for key in _METADATA_UNIT_KEYS if key in metadata), None)
    unit = "nm" if key.endswith("_nm") else unit
    try:
        nm, _ = wavelengths_in_nm(metadata[key], unit if isinstance(unit, str) else None)
    except WavelengthError:
        return None
    return (nm, f"the metadata of '{stack.name}'") if nm.size == stack.shape[2] else None


def _wavelengths_of_files(stack: ImageStack) -> tuple[Float64Array, str] | None:
    """Return the wavelengths in the names of the files that napari stacked, and their source."""
    path, n_bands = stack.path, stack.shape[2]
    if path is None or stack.band_axis != 0:
        return None
    try:
        if path.is_dir():
            orders = [_natural_order(_files_in(path))]
        elif isinstance(stack.data, np.ndarray):  # one file: napari stacks several as a lazy array
            return None
        else:
            similar = [
                each
                for each in _files_in(path.parent)
                if each.suffix == path.suffix and _pattern(each) == _pattern(path)
            ]
            orders = [_natural_order(similar), sorted(similar, key=lambda each: each.name)]
    except OSError:
        return None
    if not path.is_dir():  # the path is the first of the files, in the order in which they are
        orders = [order for order in orders if order and order[0] == path]
    if not orders or any(order != orders[0] for order in orders) or len(orders[0]) != n_bands:
        return None
    nm = wavelengths_of_names([each.stem for each in orders[0]])
    return None if nm is None else (nm, "the names of its files")


def _files_in(folder: Path) -> list[Path]:
    """Return the files that napari reads from a folder: those with a dot in their names."""
    return [each for each in folder.glob("*.*") if not each.is_dir() and each.name[0] != "."]


def _natural_order(files: Sequence[Path]) -> list[Path]:
    """Sort files as napari does: by the numbers in their names, as numbers."""
    return sorted(
        files,
        key=lambda each: [
            (0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.split(r"(\d+)", each.name)
        ],
    )


def _pattern(path: Path) -> str:
    return _NUMBER.sub("#", path.stem)
