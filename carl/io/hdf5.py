"""HDF5 files, which include NetCDF 4 and MATLAB 7.3, whose axes are reversed. Reading is lazy."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.io.chunked import ChunkedArray, Position
from carl.io.reader import (
    FileContents,
    Reader,
    Variable,
    choose_cube,
    decoding_errors,
    find_wavelengths,
)
from carl.lazy_array import Block, LazyArray

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS = (0, 512, 1024, 2048)
"""Positions of the signature: HDF5 may start after a user block; MATLAB's has 512 bytes."""
_LARGE_CHUNK_BYTES = 1 << 16
"""Smallest chunk that is read by a call of its own; HDF5 reads many smaller ones faster."""


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the HDF5 signature."""
    try:
        with path.open("rb") as file:
            head = file.read(_SIGNATURE_OFFSETS[-1] + len(_SIGNATURE))
    except OSError:
        return False
    return any(head[at : at + len(_SIGNATURE)] == _SIGNATURE for at in _SIGNATURE_OFFSETS)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of an HDF5 file, which stays open while the cube exists.

    Raises:
        CubeError: the file is damaged, or it is unclear which of its datasets is the cube.
    """
    import h5py

    with ExitStack() as on_failure:
        file = on_failure.enter_context(h5py.File(path, "r", locking=False))
        datasets = _datasets(file)
        variables = [
            Variable(name, dataset.shape[:: _direction(dataset, path)], dataset.dtype.kind)
            for name, dataset in datasets.items()
        ]
        cube = choose_cube(variables, variable, path)
        listed = find_wavelengths(variables, cube)
        dataset = datasets[cube.name]
        wavelengths, unit = _wavelengths(dataset, None if listed is None else datasets[listed.name])
        axes = tuple(range(len(dataset.shape)))[:: _direction(dataset, path)]
        on_failure.pop_all()
    return FileContents(
        data=_lazy_array(dataset, path).transpose(axes),
        wavelengths=wavelengths,
        wavelength_unit=unit,
        scale=_number(dataset, "scale_factor", 1.0),
        offset=_number(dataset, "add_offset", 0.0),
        nodata=_number(dataset, "_FillValue", None),
        metadata={"format": "HDF5", "variable": cube.name},
    )


class _Dataset(LazyArray):
    """A dataset of an open HDF5 file; `path` is for error messages."""

    def __init__(self, dataset: Any, path: Path) -> None:
        super().__init__(dataset.shape, dataset.dtype)
        self._dataset = dataset
        self._path = path

    def _read_block(self, block: Block) -> NDArray[Any]:
        with decoding_errors(self._path, "HDF5"):
            return np.asarray(self._dataset[block])


def _lazy_array(dataset: Any, path: Path) -> LazyArray:
    """Return a dataset as a lazy array, which caches decoded chunks where they are large.

    HDF5 itself caches a few megabytes of each dataset. In a file whose chunks are bands, that is
    less than the chunks one row of pixels touches, so that each row would decode all of them.
    """
    array = _Dataset(dataset, path)
    lengths = dataset.chunks
    if lengths is None or math.prod(lengths) * array.dtype.itemsize < _LARGE_CHUNK_BYTES:
        return array

    def load(position: Position) -> NDArray[Any]:
        at = zip(position, lengths, strict=True)
        return np.asarray(array[tuple(slice(n * side, (n + 1) * side) for n, side in at)])

    return ChunkedArray(array.shape, lengths, array.dtype, load)


def _direction(dataset: Any, path: Path) -> int:
    """Return -1 if MATLAB wrote the dataset, whose axes are then reversed, else 1."""
    return -1 if path.suffix.lower() == ".mat" or "MATLAB_class" in dataset.attrs else 1


def _datasets(file: Any) -> dict[str, Any]:
    """Return all datasets with a shape by path, without MATLAB's hidden ``#refs#``."""
    import h5py

    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and not name.startswith("#"):
            found[name] = item

    file.visititems(visit)
    return found


def _wavelengths(dataset: Any, listed: Any | None) -> tuple[Any, str | None]:
    """Return wavelengths and unit of a dataset beside the cube, or of the cube's attributes."""
    if listed is not None:
        return np.ravel(listed[()]), _text(listed.attrs.get("units", listed.attrs.get("unit")))
    for name in ("wavelengths", "wavelength"):
        if name in dataset.attrs:
            unit = dataset.attrs.get("wavelength_units", dataset.attrs.get("wavelength_unit"))
            return np.ravel(dataset.attrs[name]), _text(unit)
    return None, None


def _number(dataset: Any, attribute: str, default: float | None) -> Any:
    """Return an attribute of the CF conventions (CF 1.11, section 8.1)."""
    value = np.asarray(dataset.attrs.get(attribute, np.nan))
    return float(value.flat[0]) if value.size and np.all(np.isfinite(value)) else default


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


READER = Reader("HDF5", (".h5", ".hdf5", ".he5", ".nc"), read, is_hdf5)
