"""Reading of large blocks of memory-mapped files with ordinary file reads.

A memory map is the fastest way to read single values, but not a whole file: its pages count as
memory of the process while the map exists, so that reading a cube from end to end seems to need as
much memory as the cube; a slow read cannot be interrupted; and if the file became shorter since it
was mapped, the operating system ends the process.
"""

from __future__ import annotations

import mmap
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError

_MIN_BYTES = 1 << 12
"""Bytes of the smallest block that is read from the file; smaller ones are read from the map."""
_MIN_RUN = 1 << 8
"""Bytes of the shortest contiguous run: one system call for each shorter run costs too much."""


def read_mapped(block: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a block, read from its file if it is a large view of a memory map.

    Any other array is returned as it is.

    Raises:
        CubeError: the file became shorter, or cannot be read.
    """
    mapped = _map_of(block)
    if mapped is None or block.nbytes < _MIN_BYTES or min(block.strides) < 0:
        return block
    # Axes in the order of the file; the innermost ones without gaps form a contiguous run.
    axes = sorted(range(block.ndim), key=lambda axis: -block.strides[axis])
    n_outer, run = block.ndim, block.itemsize
    while n_outer and block.strides[axes[n_outer - 1]] == run:
        n_outer -= 1
        run *= block.shape[axes[n_outer]]
    if run < _MIN_RUN:
        return block
    outer = axes[:n_outer]
    values = np.empty([block.shape[axis] for axis in axes], block.dtype)
    runs = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    start = _position(block, mapped)
    path = Path(str(mapped.filename))
    try:
        file = path.open("rb", buffering=0)
    except OSError:  # moved or removed; the map stays valid
        return block
    with file:
        indices = product(*(range(block.shape[axis]) for axis in outer))
        for number, index in enumerate(indices):
            steps = (i * block.strides[axis] for i, axis in zip(index, outer, strict=True))
            read_into(runs[number * run : (number + 1) * run], file, start + sum(steps), path)
    return values.transpose(np.argsort(axes))


def _map_of(block: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """Return the read-only memory map that a block is a view of; None if it is not one."""
    source: Any = block
    while isinstance(source, np.ndarray):
        # Not copy-on-write maps: their changes are not in the file.
        if isinstance(source, np.memmap) and source.mode == "r" and source.filename is not None:
            return source
        source = source.base
    return None


def _position(block: NDArray[Any], mapped: np.memmap[Any, Any]) -> int:
    """Return the position in the file of the first value of a block, bytes."""
    whole: Any = mapped
    while isinstance(whole, np.ndarray):
        whole = whole.base
    mapped_from = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY
    first = np.frombuffer(whole, np.uint8, count=1)
    return int(mapped_from + block.ctypes.data - first.ctypes.data)


def read_into(run: memoryview, file: IO[bytes], position: int, path: Path) -> None:
    """Fill a buffer with consecutive bytes of an unbuffered file, which begin at `position`.

    Raises:
        CubeError: the file became shorter, or cannot be read; names `path`.
    """
    try:
        file.seek(position)
        while run:
            n_read = file.readinto(run)  # type: ignore[attr-defined]  # an unbuffered file has it
            if not n_read:
                raise CubeError(
                    f"{path.name} became shorter while it was being read: open it again once it "
                    "is complete."
                )
            run = run[n_read:]
    except OSError as error:
        raise CubeError(
            f"{path.name} cannot be read ({error.strerror or error}): check its disk or network."
        ) from error
