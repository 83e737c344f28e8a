"""Views of lazy arrays with other axes: one index of an axis, and an axis divided into two."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from carl.lazy_array import ArraySource, Block, LazyArray


def at_index(source: ArraySource, axis: int, index: int) -> ArraySource:
    """Return an array without one of its axes, at an index on it; lazy ones are not read.

    Examples:
        >>> at_index(np.arange(6).reshape(2, 3), 0, 1)
        array([3, 4, 5])
    """
    if isinstance(source, np.ndarray):
        chosen: ArraySource = source[(slice(None),) * axis + (index,)]
        return chosen
    return cast(LazyArray, source).at({axis: index})


def with_axis_divided(source: ArraySource, outer: int, inner: int) -> ArraySource:
    """Return an array whose first axis is divided into two, the second of which is contiguous.

    Args:
        source: its first axis has the length `outer` × `inner`.
        outer: length of the first axis of the result.
        inner: length of the second one.

    Examples:
        >>> with_axis_divided(np.arange(6), 2, 3)
        array([[0, 1, 2],
               [3, 4, 5]])
    """
    if isinstance(source, np.ndarray):
        return source.reshape(outer, inner, *source.shape[1:])
    return _DividedAxis(source, outer, inner)


class _DividedAxis(LazyArray):
    """An array whose first axis is divided into an outer and an inner one."""

    def __init__(self, source: ArraySource, outer: int, inner: int) -> None:
        super().__init__((outer, inner, *source.shape[1:]), source.dtype)
        self._source = source

    def _read_block(self, block: Block) -> NDArray[Any]:
        outer, inner, *others = block
        length = self.shape[1]
        values = np.empty([len(range(n)[s]) for n, s in zip(self.shape, block, strict=True)],
                          self.dtype)  # fmt: skip
        if (inner.start, inner.stop, inner.step, outer.step) == (0, length, 1, 1):
            rows = slice(outer.start * length, outer.stop * length)
            return np.asarray(self._source[(rows, *others)]).reshape(values.shape)
        # One by one: what lies between the parts may be much larger than they are.
        for number, index in enumerate(range(self.shape[0])[outer]):
            start = index * length
            part = slice(start + inner.start, start + inner.stop, inner.step)
            values[number] = self._source[(part, *others)]
        return values
