"""NumPy files, .npy and .npz: read lazily where not compressed, and never unpickled."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from carl.errors import CubeError
from carl.io.reader import FileContents, Reader, Variable, choose_cube, find_wavelengths
from carl.io.size_limits import check_decoded_size
from carl.lazy_array import ArraySource
from carl.mapped_files import open_array

_MAX_HEADER_BYTES = 10_000
"""Longest header of an array, as in NumPy."""
_UNIT_NAMES = ("wavelength_unit", "wavelength_units", "wavelengths_unit")
"""Names of texts in a .npz file with the unit of its wavelengths."""


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the array of a .npy file, or the cube of a .npz file.

    Raises:
        CubeError: the file is damaged, holds Python objects, or it is unclear which array is the
            cube.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path, variable)
    with path.open("rb") as file:
        shape, fortran, dtype = _array_header(file)
        start = file.tell()
    _refuse_objects(dtype, path)
    data = open_array(path, dtype, start, shape, "F" if fortran else "C")
    return FileContents(data=data, flattened="C", metadata={"format": "NumPy"})


def _read_npz(path: Path, variable: str | None) -> FileContents:
    with zipfile.ZipFile(path) as archive:
        variables = []
        for entry in archive.namelist():
            if entry.endswith(".npy"):
                with archive.open(entry) as file:
                    shape, _, dtype = _array_header(file)
                variables.append(Variable(entry.removesuffix(".npy"), shape, dtype.kind))
        cube = choose_cube(variables, variable, path)
        listed = find_wavelengths(variables, cube)
        data = load_entry(archive, cube.name, path)
        wavelengths = None if listed is None else load_entry(archive, listed.name, path)
        stated = next(
            (v for v in variables if v.name.lower() in _UNIT_NAMES and v.kind == "U"), None
        )
        unit = None if stated is None else np.asarray(load_entry(archive, stated.name, path))
    return FileContents(
        data=data,
        wavelengths=None if wavelengths is None else np.ravel(np.asarray(wavelengths)),
        wavelength_unit=str(unit.item()) if unit is not None and unit.size == 1 else None,
        flattened="C",
        others=tuple(variables),
        metadata={"format": "NumPy", "variable": cube.name},
    )


def load_entry(archive: zipfile.ZipFile, name: str, path: Path) -> ArraySource:
    """Return an array of the .npz file `path`, read lazily if it is not compressed.

    Raises:
        KeyError: there is no such array.
        CubeError: the array holds Python objects.
    """
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as entry:
        shape, fortran, dtype = _array_header(entry)
        header_bytes = entry.tell()
        _refuse_objects(dtype, path)
        if info.compress_type != zipfile.ZIP_STORED:
            check_decoded_size(path, math.prod(shape) * dtype.itemsize, info.compress_size)
            entry.seek(0)
            return npy_format.read_array(entry, allow_pickle=False)
    # The entry follows a local header of 30 bytes, its name and an extra field, whose length may
    # differ from that in the central directory.
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        start = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4))) + header_bytes
    return open_array(path, dtype, start, shape, "F" if fortran else "C")


def _array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, Fortran order and dtype; leaves the file at its first number."""
    if npy_format.read_magic(file) == (1, 0):
        return npy_format.read_array_header_1_0(file)
    length = struct.unpack("<I", file.read(4))[0]
    if length > _MAX_HEADER_BYTES:  # NumPy reads it before it checks its length
        raise ValueError(f"the header of an array has {length} bytes")
    file.seek(-4, os.SEEK_CUR)
    return npy_format.read_array_header_2_0(file)


def _refuse_objects(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.hasobject:
        raise CubeError(
            f"{path.name} holds pickled Python objects, which could run code: save a plain array "
            "of numbers with numpy.save."
        )


READER = Reader("NumPy", (".npy", ".npz"), read)
