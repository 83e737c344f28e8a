"""Arrays stored uncompressed in files, read block by block with ordinary file reads.

They are not memory-mapped: when a file becomes shorter while it is mapped, the operating system
ends the process that reads the missing part, whereas a file read reports it. Checking the size
first would not help, as the file may become shorter between the check and the read. Pages of a map
also count as memory of the process, and a slow read of one cannot be interrupted.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import DTypeLike, NDArray

from carl.errors import CubeError
from carl.lazy_array import Block, LazyArray

_LARGEST_GAP = 1 << 14
"""Bytes between two runs up to which the gap is read as well: another system call takes longer."""
_BUFFER_BYTES = 1 << 19
"""Bytes that are read at a time where there are gaps: they stay in the cache of the processor until
the values have been copied out of them."""


class SharedFile:
    """A file that several threads read, each at any position.

    Args:
        path: of the file, which stays open while this object exists.

    Attributes:
        path: of the file.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb", buffering=0)
        self._lock = Lock()
        finalize(self, self._file.close)

    @property
    def size(self) -> int:
        """Current size, bytes."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, position: int, n_bytes: int) -> bytes:
        """Return consecutive bytes of the file.

        Raises:
            CubeError: the file ends before, or cannot be read.
        """
        if position + n_bytes > self.size:  # before memory is taken for what is not there
            raise became_shorter(self.path)
        content = np.empty(n_bytes, np.uint8)
        self.read_runs(content[None], [position])
        return content.tobytes()

    def read_runs(self, runs: NDArray[np.uint8], positions: Sequence[int]) -> None:
        """Fill each row of an array with consecutive bytes of the file.

        Args:
            runs: (runs, bytes) contiguous array that is filled.
            positions: of the first byte of each run in the file.

        Raises:
            CubeError: the file became shorter, or cannot be read.
        """
        n_bytes = runs.shape[1]
        buffers = memoryview(runs.reshape(-1))  # type: ignore[arg-type]
        start = 0
        try:
            for position in positions:
                end = start + n_bytes
                while start < end:
                    n_read = self._read_some(buffers[start:end], position)
                    if n_read == 0:
                        raise became_shorter(self.path)
                    start, position = start + n_read, position + n_read
        except OSError as error:
            raise CubeError(
                f"{self.path.name} cannot be read ({error.strerror or error}): check its disk or "
                "network."
            ) from error

    def _read_some(self, buffer: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [buffer], position)
        with self._lock:  # Windows has no read at a position
            self._file.seek(position)
            return self._file.readinto(buffer)


def became_shorter(path: Path) -> CubeError:
    """Return the error of a file that has fewer bytes than it should."""
    return CubeError(
        f"{path.name} became shorter while it was being read: open it again once it is complete."
    )


class FileArray(LazyArray):
    """An array stored uncompressed in a file, of which only the indexed block is read.

    Args:
        file: the file.
        dtype: of the stored numbers, with their byte order.
        start: position in the file of the element with all indices 0, bytes.
        shape: lengths of the axes.
        strides: bytes from one element to the next along each axis, which may be negative.

    Raises:
        CubeError: the file does not hold all elements.
    """

    def __init__(
        self,
        file: SharedFile,
        dtype: DTypeLike,
        start: int,
        shape: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__(shape, dtype)
        self._file = file
        self._start = start
        self._strides = tuple(int(stride) for stride in strides)
        if min(self.shape, default=0) < 0:
            raise CubeError(f"{file.path.name} is damaged: it describes an array of {self.shape}.")
        spans = [(n - 1) * stride for n, stride in zip(self.shape, self._strides, strict=True)]
        end = start + sum(max(span, 0) for span in spans) + self.dtype.itemsize
        if self.size and (start + sum(min(span, 0) for span in spans) < 0 or end > file.size):
            raise CubeError(
                f"{file.path.name} is cut off or damaged: it describes {end} bytes and has "
                f"{file.size}."
            )

    def transpose(self, axes: Sequence[int]) -> FileArray:
        """Return a view with the axes in another order."""
        shape, strides = ([each[axis] for axis in axes] for each in (self.shape, self._strides))
        return FileArray(self._file, self.dtype, self._start, shape, strides)

    def _read_block(self, block: Block) -> NDArray[Any]:
        start = self._start + sum(
            span.start * stride for span, stride in zip(block, self._strides, strict=True)
        )
        lengths = [len(range(span.start, span.stop, span.step)) for span in block]
        steps = [span.step * stride for span, stride in zip(block, self._strides, strict=True)]
        return _read(self._file, self.dtype, start, lengths, steps)


def open_array(
    path: Path, dtype: DTypeLike, start: int, shape: Sequence[int], order: str = "C"
) -> FileArray:
    """Return an array that a file stores without gaps.

    Args:
        path: of the file.
        dtype: of the stored numbers, with their byte order.
        start: position of the first number, bytes.
        shape: lengths of the axes.
        order: "C" if the last axis is contiguous, "F" if the first one is.

    Raises:
        CubeError: the file does not hold all elements.
    """
    strides = []
    step = np.dtype(dtype).itemsize
    for length in shape if order == "F" else reversed(shape):
        strides.append(step)
        step *= length
    return FileArray(
        SharedFile(path), dtype, start, shape, strides if order == "F" else strides[::-1]
    )


def unmapped(data: Any) -> Any:
    """Return a view of a memory-mapped file as a `FileArray`; anything else as it is.

    So are maps that can be written to, and those of files that were removed.
    """
    mapped = _map_of(data)
    if mapped is None:
        return data
    try:
        file = SharedFile(Path(str(mapped.filename)))
    except OSError:  # moved or removed: the map stays valid, and nobody can shorten the file
        return data
    return FileArray(file, data.dtype, _position(data, mapped), data.shape, data.strides)


def read_mapped(block: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a view of a memory-mapped file, read from the file.

    Any other array is returned as it is.

    Raises:
        CubeError: the file became shorter, or cannot be read.
    """
    return np.asanyarray(unmapped(block))


def _map_of(block: Any) -> np.memmap[Any, Any] | None:
    """Return the read-only memory map that an array is a view of; None if it is not one."""
    source = block
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


def _read(
    file: SharedFile, dtype: np.dtype[Any], start: int, shape: Sequence[int], strides: Sequence[int]
) -> NDArray[Any]:
    """Return the values of a block, which are in memory in the order of the file."""
    axes = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]))
    lengths = [shape[axis] for axis in axes]
    steps = [abs(strides[axis]) for axis in axes]
    first = start + sum((shape[axis] - 1) * min(strides[axis], 0) for axis in axes)
    n_outer, has_gaps = _outer_axes(lengths, steps, dtype.itemsize)
    offsets = np.array([first])
    for length, step in zip(lengths[:n_outer], steps[:n_outer], strict=True):
        offsets = np.add.outer(offsets, step * np.arange(length)).ravel()
    values = np.empty(lengths, dtype)
    parts = values.reshape(offsets.size, *lengths[n_outer:])
    if has_gaps:
        _read_with_gaps(parts, file, offsets.tolist(), steps[n_outer:])
    else:
        file.read_runs(parts.view(np.uint8).reshape(offsets.size, -1), offsets.tolist())
    ascending = values.transpose([axes.index(axis) for axis in range(len(shape))])
    return ascending[tuple(slice(None, None, -1 if step < 0 else 1) for step in strides)]


def _outer_axes(lengths: Sequence[int], steps: Sequence[int], itemsize: int) -> tuple[int, bool]:
    """Return for how many of the first axes each index is read separately.

    Also returns whether there are gaps between the elements of the remaining axes.
    """
    n_outer, n_bytes, has_gaps = len(lengths), itemsize, False
    while n_outer:
        length, step = lengths[n_outer - 1], steps[n_outer - 1]
        if length > 1 and step != n_bytes:
            # Elements without gaps are read to where they belong, others are copied there.
            if max(step - n_bytes, 0 if has_gaps else n_bytes) > _LARGEST_GAP:
                break
            has_gaps = True
        n_bytes += (length - 1) * step
        n_outer -= 1
    while has_gaps and n_outer < len(lengths) - 1 and steps[n_outer] > _BUFFER_BYTES:
        n_outer += 1
    return n_outer, has_gaps


def _read_with_gaps(
    parts: NDArray[Any], file: SharedFile, positions: Sequence[int], steps: Sequence[int]
) -> None:
    """Fill arrays, which begin at these positions of a file, with elements `steps` bytes apart."""
    n_together = max(1, _BUFFER_BYTES // steps[0])
    buffer = np.empty(_extent(parts[0, :n_together], steps), np.uint8)
    for part, position in zip(parts, positions, strict=True):
        for start in range(0, len(part), n_together):
            values = part[start : start + n_together]
            n_bytes = _extent(values, steps)
            file.read_runs(buffer[None, :n_bytes], [position + start * steps[0]])
            values[...] = np.ndarray(values.shape, values.dtype, buffer, strides=steps)


def _extent(values: NDArray[Any], steps: Sequence[int]) -> int:
    """Return the bytes from the first to the last of some values, `steps` bytes apart."""
    spans = ((length - 1) * step for length, step in zip(values.shape, steps, strict=True))
    return int(sum(spans) + values.itemsize)
