"""MATLAB files: versions 5 to 7 (saved as -v6 or -v7), and 7.3, which is HDF5.

Uncompressed arrays are read lazily. A compressed array of a version 7 file is a single stream: it
is loaded whole and needs its size in memory; in a version 7.3 file it is read block by block.

The format is documented by The MathWorks in "MAT-File Format". `scipy.io` is not used: it copies
arrays that can be read lazily, and for damaged files it indexes a table of types beyond its end,
which ends the process with a segmentation fault (SciPy 1.17).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from carl.errors import CubeError
from carl.io import hdf5
from carl.io.reader import FileContents, Reader, Variable, choose_cube, find_wavelengths
from carl.io.size_limits import check_decoded_size
from carl.lazy_array import ArraySource
from carl.mapped_files import SharedFile, open_array

_FILE_HEADER_BYTES = 128
"""Length of the header of a version 5 file, whose last two bytes state the byte order."""
_PREFIX_BYTES = 4096
"""Bytes that contain the flags, dimensions and name of any array."""

_BLOCK_BYTES = 1 << 18
"""Bytes that are decompressed at once."""
_MAX_PADDING = 8
"""Most bytes after the numbers of an array."""
_MAX_ELEMENTS = 1 << 16
"""Most elements of a file: a damaged one may hold millions of empty ones."""

# Codes of data types and array classes of the format.
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_NUMERIC_CLASSES = range(6, 16)
"""Codes of the classes double, single and the integers."""
_COMPLEX_FLAG = 0x0800
"""Bit of the array flags that marks complex numbers."""


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a .mat file, lazily where it is not compressed.

    Raises:
        CubeError: the file is damaged, or it is unclear which of its variables is the cube.
    """
    if hdf5.is_hdf5(path):
        return hdf5.read(path, variable)
    arrays = {array.name: array for array in _stored_arrays(path)}
    variables = [Variable(array.name, array.shape, array.kind) for array in arrays.values()]
    cube = choose_cube(variables, variable, path)
    listed = find_wavelengths(variables, cube)
    wavelengths = None if listed is None else np.ravel(np.asarray(arrays[listed.name].load()))
    return FileContents(
        data=arrays[cube.name].load(),
        wavelengths=wavelengths,
        flattened="F",
        others=tuple(variables),
        metadata={"format": "MATLAB", "variable": cube.name},
    )


@dataclass(frozen=True)
class _Array:
    """An array in a MATLAB 5 file, whose numbers are in Fortran order."""

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str  # of the NumPy dtype; "c" for complex numbers, "O" for cells, structs and others
    dtype: np.dtype[Any]
    offset: int  # of the first number in the file or in the decompressed element, bytes
    compressed: tuple[int, int] | None  # position and size of the compressed element, bytes

    def load(self) -> ArraySource:
        """Return the array, decompressed or read lazily."""
        if self.compressed is None:
            return open_array(self.path, self.dtype, self.offset, self.shape, "F")
        start, size = self.compressed
        stop = self.offset + math.prod(self.shape) * self.dtype.itemsize
        check_decoded_size(self.path, stop, size)
        with self.path.open("rb") as file:
            file.seek(start)
            content = _decompress(file, size, stop, self.path)
        flat = np.frombuffer(content, self.dtype, math.prod(self.shape), self.offset)
        return flat.reshape(self.shape, order="F")


def _decompress(file: IO[bytes], n_stored: int, n_bytes: int, path: Path) -> bytearray:
    """Return the first bytes of a compressed stream, which begins at the position of a file.

    Compressed and decompressed bytes are never held whole at the same time, nor is more
    decompressed than needed.
    """
    content = bytearray(n_bytes)
    stream = zlib.decompressobj()
    at = 0
    while not stream.eof:
        stored = stream.unconsumed_tail
        if not stored:
            stored = file.read(min(_BLOCK_BYTES, n_stored))
            n_stored -= len(stored)
        # At least one byte, so that the checksum after the last one is read as well.
        block = stream.decompress(stored, max(1, min(_BLOCK_BYTES, n_bytes - at)))
        content[at : at + len(block)] = block[: max(0, n_bytes - at)]
        at += len(block)
        if not stored or at > n_bytes + _MAX_PADDING:
            break
    _expect(at >= n_bytes, path)
    return content


def _stored_arrays(path: Path) -> list[_Array]:
    """Return all named arrays in a file, without reading their numbers."""
    file = SharedFile(path)
    header = file.read(0, min(file.size, _FILE_HEADER_BYTES))
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    if order is None:
        raise CubeError(f"{path.name} is not a MATLAB file: save it again with MATLAB, as -v7.")
    found = []
    for kind, start, size in _elements(file, order):
        prefix = file.read(start, min(size, _PREFIX_BYTES))
        if kind == _COMPRESSED:
            prefix = zlib.decompressobj().decompress(prefix, _PREFIX_BYTES)
            found.append(_parse_array(prefix[8:], 8, order, path, compressed=(start, size)))
        elif kind == _MATRIX:
            found.append(_parse_array(prefix, start, order, path, compressed=None))
    return [array for array in found if array.name]


def _elements(file: SharedFile, order: str) -> Iterator[tuple[int, int, int]]:
    """Yield the type, the position and the size in bytes of each element of a file."""
    at, n_elements = _FILE_HEADER_BYTES, 0
    while at < file.size:
        kind, size = struct.unpack(f"{order}II", file.read(at, min(8, file.size - at)))
        at += 8
        n_elements += 1
        if at + size > file.size or n_elements > _MAX_ELEMENTS:
            raise CubeError(
                f"{file.path.name} is cut off or damaged: copy it again from its source."
            )
        yield kind, at, size
        at += size


def _parse_array(
    prefix: bytes, start: int, order: str, path: Path, compressed: tuple[int, int] | None
) -> _Array:
    """Parse the header of an array from the bytes after its tag, which begin at `start`."""
    kind, size, at, following = _subelement(prefix, 0, order)
    _expect(kind == _UINT32 and size == 8, path)
    flags = struct.unpack_from(f"{order}I", prefix, at)[0]
    kind, size, at, following = _subelement(prefix, following, order)
    _expect(kind == _INT32 and size % 4 == 0, path)
    shape = struct.unpack_from(f"{order}{size // 4}i", prefix, at)
    kind, size, at, following = _subelement(prefix, following, order)
    _expect(kind == _INT8, path)
    name = prefix[at : at + size].decode("latin-1")
    if flags & 0xFF not in _NUMERIC_CLASSES:
        return _Array(path, name, shape, "O", np.dtype("O"), 0, compressed)
    kind, size, at, _ = _subelement(prefix, following, order)
    _expect(kind in _TYPES and min(shape, default=0) >= 0, path)
    dtype = np.dtype(order + _TYPES[kind])
    _expect(size == math.prod(shape) * dtype.itemsize, path)
    numpy_kind = "c" if flags & _COMPLEX_FLAG else dtype.kind
    return _Array(path, name, shape, numpy_kind, dtype, start + at, compressed)


def _subelement(prefix: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Return type, size and position of a subelement, and the position of the next one.

    Up to four bytes of data are stored in the tag itself, with their number in its upper half.
    """
    word, size = struct.unpack_from(f"{order}II", prefix, at)
    if word >> 16:
        return word & 0xFFFF, word >> 16, at + 4, at + 8
    return word, size, at + 8, at + 8 + -(-size // 8) * 8


def _expect(sound: bool, path: Path) -> None:
    if not sound:
        raise CubeError(f"{path.name} is damaged: copy it again from its source.")


READER = Reader("MATLAB", (".mat",), read)
