"""Write NumPy files some rows at a time, so that the arrays need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy_format

from carl.arrays import Float32Array


def write_npy(file: IO[bytes], shape: tuple[int, ...], blocks: Iterable[Float32Array]) -> None:
    """Write an array in the ``.npy`` format.

    Args:
        file: opened for writing.
        shape: of the whole array.
        blocks: consecutive rows of the array.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, header)
    for block in blocks:
        # `tofile` would not report a full disk as such.
        file.write(np.ascontiguousarray(block, "<f4").data)


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
