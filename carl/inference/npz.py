"""Write NumPy files some rows at a time, and read them back with their checksums compared.

The arrays need not fit into memory. The checksums are those of the ZIP format; that of a single
``.npy`` file is a CRC-32 behind the array, which NumPy ignores.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import crc32
from zlib import error as ZlibError

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from carl.arrays import Float32Array

READ_ERRORS = (
    OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, struct.error,
    BadZipFile, ZlibError, TokenError,
)  # fmt: skip
"""Errors that reading a missing or damaged file raises."""
_CRC_BYTES = 4
_METADATA = ("metadata", "facts")
"""Names of the entry of metadata; the second one in files of earlier versions."""
_MAGIC_BYTES = 10
"""Bytes of a ``.npy`` file in front of the header: format, version, and length of the header."""
_MAX_METADATA_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 18
"""Bytes read at a time: their checksum is computed while they are in the processor's cache."""


def write_npy(file: IO[bytes], shape: tuple[int, ...], blocks: Iterable[Float32Array]) -> int:
    """Write an array in the ``.npy`` format.

    Args:
        file: opened for writing.
        shape: of the whole array.
        blocks: consecutive rows of the array.

    Returns:
        the CRC-32 of what was written.
    """
    header = BytesIO()
    npy_format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    file.write(header.getvalue())
    checksum = crc32(header.getvalue())
    for block in blocks:
        # `tofile` would not report a full disk as such.
        content = np.ascontiguousarray(block, "<f4").reshape(-1).view(np.uint8).data
        file.write(content)
        checksum = crc32(content, checksum)
    return checksum


def write_checked_npy(file: IO[bytes], values: Float32Array) -> None:
    """Write an array in the ``.npy`` format, with a checksum behind it."""
    file.write(write_npy(file, values.shape, [values]).to_bytes(_CRC_BYTES, "little"))


def is_checked_npy(path: Path) -> bool:
    """Return whether a file is one that `write_checked_npy` wrote, and undamaged."""
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size - _CRC_BYTES
        checksum = _read_checksum(file, max(n_bytes, 0))
        return n_bytes > 0 and file.read() == checksum.to_bytes(_CRC_BYTES, "little")


def write_npz(
    file: IO[bytes],
    arrays: Mapping[str, tuple[tuple[int, ...], Iterable[Float32Array]]],
    metadata: Mapping[str, Any],
) -> None:
    """Write arrays, and the entry ``metadata`` as JSON, to an uncompressed ``.npz`` file.

    Args:
        file: opened for writing.
        arrays: shape and blocks of each, as in `write_npy`.
        metadata: values that JSON can represent.
    """
    with ZipFile(file, "w") as archive:
        for name, (shape, blocks) in arrays.items():
            # The size is not known to ZipFile beforehand, and may exceed 4 GB.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                write_npy(entry, shape, blocks)
        with archive.open("metadata.npy", "w") as entry:
            npy_format.write_array(entry, np.array(json.dumps(metadata)), allow_pickle=False)


def read_npz(
    path: str | os.PathLike[str], *, mapped: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the arrays and the metadata of a file that `write_npz` wrote.

    All of the file is read, to compare its checksums; with `mapped` it need not fit into memory.

    Args:
        path: of the file.
        mapped: memory-map the arrays instead of loading them.

    Raises:
        READ_ERRORS: the file is missing, damaged or of another kind.
    """
    arrays, metadata = {}, None
    with ZipFile(path) as archive, open(path, "rb") as file:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in _METADATA:
                metadata = _read_metadata(archive, entry)
            else:
                arrays[name] = _read_array(entry, file, mapped)
    if not isinstance(metadata, dict):
        raise ValueError(f"{path} has no metadata")
    return arrays, metadata


def _read_metadata(archive: ZipFile, entry: ZipInfo) -> Any:
    if entry.file_size > _MAX_METADATA_BYTES:
        raise ValueError("metadata of a size that write_npz does not write")
    content = BytesIO(archive.read(entry))  # compares the checksum
    return json.loads(str(npy_format.read_array(content, allow_pickle=False)))


def _read_array(entry: ZipInfo, file: IO[bytes], mapped: bool) -> NDArray[Any]:
    """Read or map an array and compare its checksum."""
    if entry.compress_type != ZIP_STORED:
        raise ValueError("a compressed array, which write_npz does not write")
    # The entry follows a local header of 30 bytes, its name and an extra field, whose length may
    # differ from that in the central directory.
    file.seek(entry.header_offset + 26)
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
    if start + entry.file_size > os.fstat(file.fileno()).st_size:
        raise ValueError("an entry that ends behind the end of the file")
    file.seek(start)
    header = file.read(_MAGIC_BYTES)
    header += file.read(int.from_bytes(header[-2:], "little"))
    n_bytes = entry.file_size - len(header)
    content: NDArray[np.uint8] = np.empty(0 if mapped else n_bytes, np.uint8)
    checksum = crc32(header)
    if mapped:
        checksum = _read_checksum(file, n_bytes, checksum)
    else:
        checksum = _read_into(file, content.data, checksum)
    if checksum != entry.CRC:
        raise ValueError("a checksum that does not match")
    # Parsed after the comparison: NumPy raises almost anything on a damaged header.
    beginning = BytesIO(header)
    if npy_format.read_magic(beginning) != (1, 0):
        raise ValueError("a header that write_npy does not write")
    shape, is_fortran, dtype = npy_format.read_array_header_1_0(beginning)
    if is_fortran or dtype.hasobject or prod(shape) * dtype.itemsize != n_bytes:
        raise ValueError("an array that write_npy does not write")
    if mapped:
        return np.memmap(file, dtype, "r", start + len(header), shape)
    return content.view(dtype).reshape(shape)


def _read_checksum(file: IO[bytes], n_bytes: int, checksum: int = 0) -> int:
    """Read `n_bytes` and return their CRC-32, continued from `checksum`."""
    block = memoryview(bytearray(min(n_bytes, _BLOCK_BYTES)))
    for start in range(0, n_bytes, _BLOCK_BYTES):
        checksum = _read_into(file, block[: n_bytes - start], checksum)
    return checksum


def _read_into(file: IO[bytes], buffer: memoryview, checksum: int) -> int:
    """Fill a buffer from a file and return the CRC-32 of its content, continued from `checksum`."""
    for start in range(0, len(buffer), _BLOCK_BYTES):
        block = buffer[start : start + _BLOCK_BYTES]
        if file.readinto(block) != len(block):  # type: ignore[attr-defined]
            raise EOFError("the file is cut off")
        checksum = crc32(block, checksum)
    return checksum
