"""Arrays that files keep in pieces: strips, tiles or chunks, decoded as they are asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count, product
from threading import Lock
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

Position = tuple[int, ...]
"""Of a chunk in the grid of chunks."""

_CACHE_BYTES = 128 << 20
"""Of decoded chunks kept, of all open cubes together: enough for all chunks that a row of pixels
touches in most files, so that a cube read from top to bottom is decoded once."""


class ChunkedArray:
    """An array in a file that is cut into chunks of one shape; those at the far ends may be cut.

    Chunks used last are kept decoded, up to a number of bytes for the whole process. Safe to share
    between threads.

    Args:
        shape: of the array.
        chunk_shape: lengths of a chunk along the same axes.
        dtype: of the numbers.
        load: decodes the chunk at a position; called from any thread. What it returns may be
            larger than the chunk where that leaves the array.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        chunk_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        load: Callable[[Position], NDArray[Any]],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._chunk_shape = chunk_shape
        self._load = load
        self._number = next(_numbers)
        finalize(self, _cache.forget, self._number)

    def __getitem__(self, key: tuple[int | slice, ...]) -> Any:
        """A block; one integer or slice with a positive step for each axis."""
        spans = [
            range(length)[part] if isinstance(part, slice) else range(part, part + 1)
            for part, length in zip(key, self.shape, strict=True)
        ]
        block = np.empty([len(span) for span in spans], self.dtype)
        if block.size:
            for parts in product(*map(_parts, spans, self._chunk_shape)):
                chunk = self._chunk(tuple(part.number for part in parts))
                inside = tuple(part.in_chunk for part in parts)
                block[tuple(part.in_block for part in parts)] = chunk[inside]
        return block[tuple(slice(None) if isinstance(part, slice) else 0 for part in key)]

    def _chunk(self, position: Position) -> NDArray[Any]:
        key = self._number, position
        chunk = _cache.get(key)
        if chunk is None:
            chunk = self._load(position)
            _cache.put(key, chunk)
        return chunk


class _Part(NamedTuple):
    """What a block and a chunk have in common along an axis."""

    number: int
    in_block: slice
    in_chunk: slice


def _parts(span: range, length: int) -> Iterator[_Part]:
    """The chunks, each `length` long, that hold some of the indices of a span."""
    for number in range(span[0] // length, span[-1] // length + 1):
        start = number * length
        first = max(0, -((span.start - start) // span.step))
        stop = min(len(span), -((span.start - start - length) // span.step))
        if first < stop:
            inside = slice(span[first] - start, span[stop - 1] - start + 1, span.step)
            yield _Part(number, slice(first, stop), inside)


class _Cache:
    """The chunks used last, whosever they are."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, Position], NDArray[Any]] = OrderedDict()
        self._nbytes = 0
        self._lock = Lock()

    def get(self, key: tuple[int, Position]) -> NDArray[Any] | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, Position], chunk: NDArray[Any]) -> None:
        with self._lock:
            if chunk.nbytes > _CACHE_BYTES or key in self._kept:
                return
            self._kept[key] = chunk
            self._nbytes += chunk.nbytes
            while self._nbytes > _CACHE_BYTES:
                self._nbytes -= self._kept.popitem(last=False)[1].nbytes

    def forget(self, number: int) -> None:
        """Drop the chunks of an array that is no more."""
        with self._lock:
            for key in [each for each in self._kept if each[0] == number]:
                self._nbytes -= self._kept.pop(key).nbytes


_numbers = count()
_cache = _Cache()
