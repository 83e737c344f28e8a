"""Arrays in files, seen with their axes in another order and read block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import LazyArray
from carl.io.reader import reading

Index = int | slice


class TransposedArray:
    """An array in a file with its axes reordered; only the block asked for is read.

    Takes basic indexing: integers, slices with any step, an ellipsis. The source need only
    understand integers and slices with positive steps, as HDF5 datasets do. What goes wrong while
    reading is a `CubeError` that names the file.

    Args:
        source: the array in the file.
        axes: for each axis here, the axis of `source` it shows.
        path: the file, for messages.
        format_name: its format, for messages.
    """

    def __init__(
        self, source: LazyArray, axes: tuple[int, ...], path: Path, format_name: str
    ) -> None:
        self._source = source
        self._axes = axes
        self._path = path
        self._format_name = format_name

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, reordered."""
        return tuple(int(self._source.shape[axis]) for axis in self._axes)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self._axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers as stored."""
        return np.dtype(self._source.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        wanted = full_key(key, self.shape)
        forward = [
            _forward(index, length) for index, length in zip(wanted, self.shape, strict=True)
        ]
        source_key = tuple(forward[self._axes.index(axis)] for axis in range(self.ndim))
        with reading(self._path, self._format_name):
            block = np.asarray(self._source[source_key])
        kept = [axis for axis in range(self.ndim) if not isinstance(wanted[axis], int)]
        source_order = sorted(self._axes[axis] for axis in kept)
        block = block.transpose([source_order.index(self._axes[axis]) for axis in kept])
        steps = tuple(slice(None, None, _direction(wanted[axis])) for axis in kept)
        return block[steps] if kept else block[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def transposed(self, axes: tuple[int, ...]) -> TransposedArray:
        """The same array with the axes in yet another order."""
        reordered = tuple(self._axes[axis] for axis in axes)
        return TransposedArray(self._source, reordered, self._path, self._format_name)


def bands_last(data: LazyArray, band_axis: int) -> LazyArray:
    """`data` with its bands along the last axis: a view, nothing is read."""
    if band_axis == 2:
        return data
    axes = (*(axis for axis in range(3) if axis != band_axis), band_axis)
    if isinstance(data, TransposedArray):
        return data.transposed(axes)
    return np.asanyarray(data).transpose(axes)


def full_key(key: Any, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """A basic index as one integer or slice per axis.

    Raises:
        IndexError: it has too many parts, other parts, or leaves the array.
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    missing = len(shape) - sum(part is not Ellipsis for part in parts)
    if missing < 0 or sum(part is Ellipsis for part in parts) > 1:
        raise IndexError(f"too many indices for {len(shape)} axes: {key}")
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = [slice(None)] * missing
    return tuple(_checked(part, length) for part, length in zip(parts, shape, strict=True))


def _checked(part: Any, length: int) -> Index:
    if isinstance(part, slice):
        return part
    index = int(part.__index__()) if hasattr(part, "__index__") else None
    if index is None or not -length <= index < length:
        raise IndexError(f"index {part} is not a position on an axis of {length}")
    return index % length


def _direction(index: Index) -> int:
    return -1 if isinstance(index, slice) and (index.step or 1) < 0 else 1


def _forward(index: Index, length: int) -> Index:
    """The same elements in ascending order."""
    if isinstance(index, int):
        return index
    chosen = range(*index.indices(length))
    if not chosen:
        return slice(0, 0)
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return slice(low, high + 1, abs(chosen.step))
