"""Arrays that files store as strips, tiles or chunks, decoded when they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, product
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from carl.lazy_array import Block, LazyArray
from carl.memory_cache import MemoryCache

Position = tuple[int, ...]
"""Indices of a chunk in the grid of chunks."""

_CACHE_BYTES = 128 << 20
"""Decoded chunks cached for all open cubes together, in bytes: in most files enough for all chunks
that a row of pixels touches, so that reading a cube from top to bottom decodes each chunk once."""

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
        values = np.empty([len(span) for span in spans], self.dtype)
        for overlaps in product(*map(_overlaps, spans, self._chunk_shape)):
            position, in_block, in_chunk = zip(*overlaps, strict=True)
            chunk = _cache.get((self._number, position), partial(self._load, position))
            values[in_block] = chunk[in_chunk]
        return values


def _overlaps(span: range, length: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield the number of each chunk with elements of a span, their slices in span and chunk."""
    for number in range(span[0] // length, span[-1] // length + 1):
        start = number * length
        first = max(0, -((span.start - start) // span.step))
        stop = min(len(span), -((span.start - start - length) // span.step))
        if first < stop:
            in_chunk = slice(span[first] - start, span[stop - 1] - start + 1, span.step)
            yield number, slice(first, stop), in_chunk
