"""Arrays read from chunks, and the cache of decoded chunks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from carl.io import chunked
from carl.io.chunked import ChunkedArray, Position
from carl.memory_cache import MemoryCache

SHAPE = (7, 11, 9)
ARRAY = np.arange(7 * 11 * 9, dtype=np.int32).reshape(SHAPE)


class Source:
    """Cuts chunks out of an array and records their positions."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.lengths = lengths
        self.loaded: list[Position] = []

    def load(self, position: Position) -> NDArray[np.int32]:
        self.loaded.append(position)
        starts = [number * length for number, length in zip(position, self.lengths, strict=True)]
        ends = (start + length for start, length in zip(starts, self.lengths, strict=True))
        return ARRAY[tuple(map(slice, starts, ends))].copy()

    def array(self) -> ChunkedArray:
        return ChunkedArray(SHAPE, self.lengths, ARRAY.dtype, self.load)


def use_cache(monkeypatch: pytest.MonkeyPatch, max_bytes: int) -> MemoryCache[Any, NDArray[Any]]:
    """Replace the cache of decoded chunks by an empty one."""
    cache: MemoryCache[Any, NDArray[Any]] = MemoryCache(max_bytes, lambda chunk: chunk.nbytes)
    monkeypatch.setattr(chunked, "_cache", cache)
    return cache


def forward_slices(length: int) -> st.SearchStrategy[slice]:
    bounds = st.integers(0, length)
    return st.builds(slice, bounds, bounds, st.integers(1, length))


KEYS = st.tuples(*(st.integers(0, n - 1) | forward_slices(n) for n in SHAPE))


@settings(deadline=None)
@given(key=KEYS, lengths=st.tuples(*(st.integers(1, n + 2) for n in SHAPE)))
def test_blocks_equal_those_of_the_array(
    key: tuple[int | slice, ...], lengths: tuple[int, ...]
) -> None:
    source = Source(lengths)
    assert np.array_equal(source.array()[key], ARRAY[key])
    assert len(set(source.loaded)) == len(source.loaded)


def test_only_the_chunks_of_a_block_are_decoded_and_only_once() -> None:
    source = Source((2, 3, 9))
    array = source.array()
    for _ in range(2):
        block = array[slice(2, 4), slice(5, 7), slice(None)]
        assert np.array_equal(block, ARRAY[2:4, 5:7])
    assert source.loaded == [(1, 1, 0), (1, 2, 0)]
    assert array[slice(0, 7, 6), 0, slice(0)].shape == (2, 0)
    assert len(source.loaded) == 2


def test_all_arrays_share_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk_bytes = 11 * 9 * 4
    cache = use_cache(monkeypatch, 5 * chunk_bytes)
    sources = [Source((1, 11, 9)) for _ in range(2)]
    arrays = [source.array() for source in sources]
    everything = (slice(None),) * 3
    for array in arrays:
        assert np.array_equal(array[everything], ARRAY)
        assert cache.total_size == 5 * chunk_bytes
    arrays[1][(slice(2, 7), slice(None), slice(None))]
    assert len(sources[1].loaded) == 7  # the last five were cached
    arrays[0][everything]
    assert len(sources[0].loaded) == 14  # and no chunk of the other array
    arrays.clear()
    del array
    assert cache.total_size == 0


def test_a_chunk_larger_than_the_cache_is_not_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = use_cache(monkeypatch, 100)
    assert np.array_equal(Source(SHAPE).array()[(slice(None),) * 3], ARRAY)
    assert cache.total_size == 0


@pytest.mark.parametrize("lengths", [(7, 11, 9), (7, 11, 1), (3, 4, 9)])
def test_the_cache_grows_so_that_each_chunk_is_decoded_once(
    monkeypatch: pytest.MonkeyPatch, lengths: tuple[int, ...]
) -> None:
    use_cache(monkeypatch, 100)
    source = Source(lengths)
    array = source.array()
    assert np.array_equal(np.concatenate([array[row : row + 1] for row in range(7)]), ARRAY)
    assert len(source.loaded) == len(set(source.loaded))


def test_the_cache_grows_up_to_a_part_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "available_memory", lambda: 4000)
    cache = use_cache(monkeypatch, 100)
    array = Source(SHAPE).array()
    assert np.array_equal(array[3], ARRAY[3])
    assert (cache.max_size, cache.total_size) == (1000, 0)


def test_threads_can_read_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache(monkeypatch, 2000)
    array = Source((2, 4, 3)).array()
    rows = [slice(top, top + 3) for top in range(5)] * 20
    with ThreadPoolExecutor(8) as threads:
        blocks = threads.map(lambda each: array[(each, slice(None), slice(None))], rows)
        assert all(np.array_equal(b, ARRAY[r]) for b, r in zip(blocks, rows, strict=True))
