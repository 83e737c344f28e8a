"""Arrays that files store as strips, tiles or chunks, decoded when they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, product
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from carl.io.size_limits import available_memory
from carl.lazy_array import Block, LazyArray
from carl.memory_cache import MemoryCache

Position = tuple[int, ...]
"""Indices of a chunk in the grid of chunks."""

_CACHE_BYTES = 128 << 20
"""Decoded chunks cached for all open cubes together, in bytes: in most files enough for all chunks
that a row of pixels touches, so that reading a cube from top to bottom decodes each chunk once."""
_LARGEST_FRACTION = 0.25
"""Fraction of the free memory that the cache grows to for larger or more chunks."""
_LARGEST_BYTES = 1 << 30
"""The same in bytes, where the free memory is not known."""

_cache: MemoryCache[tuple[int, Position], NDArray[Any]] = MemoryCache(
    _CACHE_BYTES, lambda chunk: chunk.nbytes
)
_array_numbers = count()


class ChunkedArray(LazyArray):
    """An array stored in chunks of one shape; chunks at the far borders may be cut off.

    The chunks used last stay decoded in memory. Safe to share between threads. `load` decodes the
    chunk at a position, which may extend beyond the array; it is called from any thread.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        chunk_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        load: Callable[[Position], NDArray[Any]],
    ) -> None:
        super().__init__(shape, dtype)
        self._chunk_shape = chunk_shape
        self._load = load
        number = self._number = next(_array_numbers)
        finalize(self, _cache.discard, lambda key: key[0] == number)

    def _read_block(self, block: Block) -> NDArray[Any]:
        spans = [range(length)[part] for length, part in zip(self.shape, block, strict=True)]
        _make_room(self._bytes_needed_again(spans))
        values = np.empty([len(span) for span in spans], self.dtype)
        for overlaps in product(*map(_overlaps, spans, self._chunk_shape)):
            position, in_block, in_chunk = zip(*overlaps, strict=True)
            chunk = _cache.get((self._number, position), partial(self._load, position))
            values[in_block] = chunk[in_chunk]
        return values

    def _bytes_needed_again(self, spans: Sequence[range]) -> int:
        """Return the decoded size of the chunks that a block cuts, as the next block needs them."""
        touched, whole = 1, 1
        for span, length, axis in zip(spans, self._chunk_shape, self.shape, strict=True):
            stop = span[-1] + 1
            end = -(-axis // length) if stop == axis else stop // length
            touched *= span[-1] // length + 1 - span[0] // length
            whole *= max(0, end + -span[0] // length)
        chunk = math.prod(map(min, self._chunk_shape, self.shape)) * self.dtype.itemsize
        return (touched - whole) * chunk


def _make_room(n_bytes: int) -> None:
    """Let the cache hold some bytes, within the limits."""
    if n_bytes > _cache.max_size:
        free = available_memory()
        limit = _LARGEST_BYTES if free is None else int(_LARGEST_FRACTION * free)
        _cache.grow(min(n_bytes, limit))


def _overlaps(span: range, length: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield the number of each chunk with elements of a span, their slices in span and chunk."""
    for number in range(span[0] // length, span[-1] // length + 1):
        start = number * length
        first = max(0, -((span.start - start) // span.step))
        stop = min(len(span), -((span.start - start - length) // span.step))
        if first < stop:
            in_chunk = slice(span[first] - start, span[stop - 1] - start + 1, span.step)
            yield number, slice(first, stop), in_chunk
