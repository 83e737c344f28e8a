"""Arrays in MATLAB 5 files (saved as -v6 or -v7), memory-mapped where they are not compressed.

A compressed array is one stream from its beginning to its end: it is loaded whole, and needs its
size in memory. Saved as -v7.3, a compressed cube is read block by block.

The format is documented by The MathWorks in "MAT-File Format".

SciPy reads such files, too, but copies what could be mapped, and looks up types of a damaged file
beyond the end of a table, which ends the whole program with a segmentation fault (SciPy 1.17).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError

_FILE_HEADER_BYTES = 128
_PREFIX_BYTES = 4096
"""Enough for the flags, dimensions and name of any array."""

_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX_FLAG = 0x0800


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: where its numbers are, and what they are.

    `kind` is NumPy's: "c" for complex numbers, "O" for cells, structs, text and the like.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str
    dtype: np.dtype[Any]
    offset: int
    compressed: tuple[int, int] | None

    def load(self) -> NDArray[Any]:
        """The array: a memory map, or decompressed.

        Raises:
            CubeError: there are fewer numbers than its shape needs.
        """
        if self.compressed is None:
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")
        start, size = self.compressed
        with self.path.open("rb") as file:
            file.seek(start)
            content = zlib.decompress(file.read(size))
        flat = np.frombuffer(content, self.dtype, math.prod(self.shape), self.offset)
        return flat.reshape(self.shape, order="F")


def stored_arrays(path: Path) -> list[StoredArray]:
    """All named arrays in a file; numbers are not read.

    Raises:
        CubeError: the file is cut off, damaged or of another kind.
    """
    raw: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:128].tobytes())
    if order is None:
        raise CubeError(f"{path.name} is no MATLAB file: save it again with MATLAB, as -v7.")
    found = []
    for kind, start, size in _elements(raw, order, path):
        prefix = raw[start : start + min(size, _PREFIX_BYTES)].tobytes()
        if kind == _COMPRESSED:
            prefix = zlib.decompressobj().decompress(prefix, _PREFIX_BYTES)
            found.append(_array(prefix[8:], 8, order, path, compressed=(start, size)))
        elif kind == _MATRIX:
            found.append(_array(prefix, start, order, path, compressed=None))
    return [array for array in found if array.name]


def _elements(raw: NDArray[np.uint8], order: str, path: Path) -> Iterator[tuple[int, int, int]]:
    """Type, first byte and number of bytes of each element of a file."""
    at = _FILE_HEADER_BYTES
    while at < raw.size:
        kind, size = struct.unpack(f"{order}II", raw[at : at + 8].tobytes())
        at += 8
        if at + size > raw.size:
            raise CubeError(f"{path.name} is cut off or damaged: copy it again from its source.")
        yield kind, at, size
        at += size


def _array(
    prefix: bytes, start: int, order: str, path: Path, compressed: tuple[int, int] | None
) -> StoredArray:
    """An array from the beginning of its element.

    Args:
        prefix: the first bytes of the element, its tag left out.
        start: where `prefix` begins, in the file or in what is decompressed.
        order: "<" or ">".
        path: the file.
        compressed: first byte and size of the compressed element, or None.
    """
    kind, size, at, following = _part(prefix, 0, order)
    _expect(kind == _UINT32 and size == 8, path)
    flags = struct.unpack_from(f"{order}I", prefix, at)[0]
    kind, size, at, following = _part(prefix, following, order)
    _expect(kind == _INT32 and size % 4 == 0, path)
    shape = struct.unpack_from(f"{order}{size // 4}i", prefix, at)
    kind, size, at, following = _part(prefix, following, order)
    _expect(kind == _INT8, path)
    name = prefix[at : at + size].decode("latin-1")
    if flags & 0xFF not in _NUMERIC_CLASSES:
        return StoredArray(path, name, shape, "O", np.dtype("O"), 0, compressed)
    kind, size, at, _ = _part(prefix, following, order)
    _expect(kind in _TYPES and min(shape, default=0) >= 0, path)
    dtype = np.dtype(order + _TYPES[kind])
    _expect(size == math.prod(shape) * dtype.itemsize, path)
    numpy_kind = "c" if flags & _COMPLEX_FLAG else dtype.kind
    return StoredArray(path, name, shape, numpy_kind, dtype, start + at, compressed)


def _part(prefix: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Type, size and first byte of a part of an array, and where the next one begins.

    Up to four bytes are kept in the tag itself, their number in its upper half.
    """
    word, size = struct.unpack_from(f"{order}II", prefix, at)
    if word >> 16:
        return word & 0xFFFF, word >> 16, at + 4, at + 8
    return word, size, at + 8, at + 8 + -(-size // 8) * 8


def _expect(sound: bool, path: Path) -> None:
    if not sound:
        raise CubeError(f"{path.name} is damaged: copy it again from its source.")
