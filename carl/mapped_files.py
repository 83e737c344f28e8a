"""Blocks of memory-mapped files, read without the map.

A map is the quickest way to single values, but not to a whole file. Its pages count as memory of
the process for as long as it lives, so that reading a cube from end to end seems to take all of it;
a disk that is slow cannot be interrupted; and where the file has become shorter since it was
mapped, the system ends the process.
"""

from __future__ import annotations

import mmap
from itertools import product
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError

_LEAST_BYTES = 1 << 12
"""Of a block; smaller ones may come through the map."""
_LEAST_RUN = 1 << 8
"""Bytes that lie together; below it, a call of the system for each costs too much."""


def read_mapped(block: NDArray[Any]) -> NDArray[Any]:
    """The numbers of a block, from its file if it is a large view of a mapped one.

    Args:
        block: any array.

    Returns:
        an array of the same shape and type; the block itself where it is not such a view.

    Raises:
        CubeError: the file has become shorter, or cannot be read.
    """
    mapped = _map_of(block)
    if mapped is None or block.nbytes < _LEAST_BYTES or min(block.strides) < 0:
        return block
    # The axes in the order of the file; the innermost ones that leave no gap make a run.
    axes = sorted(range(block.ndim), key=lambda axis: -block.strides[axis])
    n_outer, run = block.ndim, block.itemsize
    while n_outer and block.strides[axes[n_outer - 1]] == run:
        n_outer -= 1
        run *= block.shape[axes[n_outer]]
    if run < _LEAST_RUN:
        return block
    outer = axes[:n_outer]
    values = np.empty([block.shape[axis] for axis in axes], block.dtype)
    runs = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
    start = _position(block, mapped)
    path = Path(str(mapped.filename))
    try:
        file = path.open("rb", buffering=0)
    except OSError:  # moved or removed; what is mapped stays as it was
        return block
    with file:
        indices = product(*(range(block.shape[axis]) for axis in outer))
        for number, index in enumerate(indices):
            steps = (i * block.strides[axis] for i, axis in zip(index, outer, strict=True))
            read_into(runs[number * run : (number + 1) * run], file, start + sum(steps), path)
    return values.transpose(np.argsort(axes))


def _map_of(block: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """The map of a file for reading that a block is a view of, if it is one."""
    source: Any = block
    while isinstance(source, np.ndarray):
        # Not of a copy-on-write map: its changes are nowhere else.
        if isinstance(source, np.memmap) and source.mode == "r" and source.filename is not None:
            return source
        source = source.base
    return None


def _position(block: NDArray[Any], mapped: np.memmap[Any, Any]) -> int:
    """Where in the file the first number of a block lies."""
    whole: Any = mapped
    while isinstance(whole, np.ndarray):
        whole = whole.base
    mapped_from = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY
    first = np.frombuffer(whole, np.uint8, count=1)
    return int(mapped_from + block.ctypes.data - first.ctypes.data)


def read_into(run: memoryview, file: IO[bytes], position: int, path: Path) -> None:
    """Read a part of a file into memory.

    Args:
        run: to be filled.
        file: unbuffered.
        position: of the first byte.
        path: of the file, for messages.

    Raises:
        CubeError: the file has become shorter, or cannot be read.
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
            f"{path.name} cannot be read ({error.strerror or error}): check the disk or network "
            "it lies on."
        ) from error
