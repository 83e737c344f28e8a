"""Base class of arrays that are read from their source block by block, indexed as in NumPy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

Block = tuple[slice, ...]
"""One slice per axis, with 0 ≤ start < stop ≤ length and a positive step."""


@runtime_checkable
class ArraySource(Protocol):
    """Array that blocks can be read from: a NumPy array, memory map or `LazyArray`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers."""

    def __getitem__(self, key: Any) -> Any:
        """Return a block; `key` is a basic index of integers and slices."""


class LazyArray(ABC):
    """An array of which only the indexed block is read.

    Takes NumPy's basic indices: integers, slices with any step and one ellipsis; and all of its
    indices with lists or arrays, which other sources of pixels may not. Subclasses implement
    `_read_block` alone, which is only called for blocks with at least one element.
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.shape = tuple(int(length) for length in shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @abstractmethod
    def _read_block(self, block: Block) -> NDArray[Any]:
        """Return the elements of a block, in an array with as many axes as this one."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def transpose(self, axes: Sequence[int]) -> LazyArray:
        """Return a view with the axes in another order; `np.moveaxis` works as well."""
        return _TransposedArray(self, tuple(axes))

    def at(self, positions: Mapping[int, int]) -> LazyArray:
        """Return a view without some axes, at one position on each of them.

        Args:
            positions: by axis, each from 0 to its length less one.
        """
        return _SectionArray(self, dict(positions)) if positions else self

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        if any(isinstance(part, list | np.ndarray) for part in np.index_exp[key]):
            return self._gathered(key)
        index = _full_index(key, self.shape)
        chosen = [
            range(length)[part] if isinstance(part, slice) else range(part, part + 1)
            for part, length in zip(index, self.shape, strict=True)
        ]
        if all(chosen):
            values = np.asarray(self._read_block(tuple(map(_ascending, chosen))))
        else:
            values = np.empty([len(positions) for positions in chosen], self.dtype)
        # Back to the requested order, and without the axes indexed by an integer.
        return values[
            tuple(
                0 if isinstance(part, int) else slice(None, None, 1 if positions.step > 0 else -1)
                for part, positions in zip(index, chosen, strict=True)
            )
        ]

    def _gathered(self, key: Any) -> NDArray[Any]:
        """Return the elements of an index with lists or arrays, read by index on the first axis."""
        where = [
            np.broadcast_to(np.expand_dims(np.arange(n), [*range(1, self.ndim - axis)]), self.shape)
            for axis, n in enumerate(self.shape)
        ]
        first, *others = (indices[key] for indices in where)
        values = np.empty(first.shape, self.dtype)
        for position in np.unique(first):
            chosen = first == position
            inside = [indices[chosen] for indices in others]
            block = self[(position, *(slice(each.min(), each.max() + 1) for each in inside))]
            values[chosen] = block[tuple(each - each.min() for each in inside)]
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


class _TransposedArray(LazyArray):
    """A lazy array with its axes in another order; `axes` are those of the source."""

    def __init__(self, source: LazyArray, axes: tuple[int, ...]) -> None:
        super().__init__([source.shape[axis] for axis in axes], source.dtype)
        self._source = source
        self._axes = axes

    def _read_block(self, block: Block) -> NDArray[Any]:
        source_block = tuple(block[axis] for axis in np.argsort(self._axes))
        return self._source._read_block(source_block).transpose(self._axes)


class _SectionArray(LazyArray):
    """A lazy array at one position on each of some axes of its source."""

    def __init__(self, source: LazyArray, positions: dict[int, int]) -> None:
        others = [length for axis, length in enumerate(source.shape) if axis not in positions]
        super().__init__(others, source.dtype)
        self._source = source
        self._positions = positions

    def _read_block(self, block: Block) -> NDArray[Any]:
        remaining = iter(block)
        source_block = tuple(
            slice(at, at + 1, 1)
            if (at := self._positions.get(axis)) is not None
            else next(remaining)
            for axis in range(self._source.ndim)
        )
        return self._source._read_block(source_block).squeeze(tuple(self._positions))


def _full_index(key: Any, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Return a basic index as one non-negative integer or slice per axis, or raise IndexError."""
    parts = list(key) if isinstance(key, tuple) else [key]
    n_missing = len(shape) - sum(part is not Ellipsis for part in parts)
    if n_missing < 0 or sum(part is Ellipsis for part in parts) > 1:
        raise IndexError(f"too many indices for {len(shape)} axes: {key}")
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = [slice(None)] * n_missing
    return tuple(_checked(part, length) for part, length in zip(parts, shape, strict=True))


def _checked(part: Any, length: int) -> int | slice:
    if isinstance(part, slice):
        return part
    position = int(part.__index__()) if hasattr(part, "__index__") else None
    if position is None or not -length <= position < length:
        raise IndexError(f"index {part} is not a position on an axis of length {length}")
    return position % length


def _ascending(positions: range) -> slice:
    """Return the slice of the same positions, in ascending order."""
    low, high = sorted((positions[0], positions[-1]))
    return slice(low, high + 1, abs(positions.step))
