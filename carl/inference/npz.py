"""NumPy's files, written some rows at a time: the arrays need not fit into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy_format

from carl.arrays import Float32Array


def write_npy(file: IO[bytes], shape: tuple[int, ...], blocks: Iterable[Float32Array]) -> None:
    """Write an array in NumPy's format, some rows at a time.

    Args:
        file: opened for writing.
        shape: of the whole array.
        blocks: of float32, one below the other.
    """
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    npy_format.write_array_header_1_0(file, header)
    for block in blocks:
        # Not by `tofile`, whose complaint about a full disk does not say that it is full.
        file.write(np.ascontiguousarray(block, "<f4").data)


def write_npz(
    file: IO[bytes],
    arrays: Mapping[str, tuple[tuple[int, ...], Iterable[Float32Array]]],
    facts: Mapping[str, Any],
) -> None:
    """Write arrays and, as ``facts``, a JSON text to an uncompressed ``.npz``, as `numpy.savez`.

    Args:
        file: opened for writing.
        arrays: shape and blocks of each, as `write_npy` takes them.
        facts: what JSON knows.
    """
    with ZipFile(file, "w") as archive:
        for name, (shape, blocks) in arrays.items():
            # The size is not known to it beforehand, and may be beyond 4 GB.
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                write_npy(entry, shape, blocks)
        with archive.open("facts.npy", "w") as entry:
            npy_format.write_array(entry, np.array(json.dumps(facts)), allow_pickle=False)
