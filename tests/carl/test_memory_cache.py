from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from carl.errors import Cancelled
from carl.memory_cache import MemoryCache

_TIMEOUT = 120
"""Seconds; only reached when a test fails."""


def test_the_values_used_last_stay_within_the_size() -> None:
    cache: MemoryCache[str, str] = MemoryCache(5, len)
    computed = []

    def get(key: str) -> str:
        def compute() -> str:
            computed.append(key)
            return 2 * key

        return cache.get(key, compute)

    for key in ("a", "b", "a", "c", "a", "b"):
        assert get(key) == 2 * key
        assert cache.total_size <= 5
    assert computed == ["a", "b", "c", "b"]
    assert get("long") == "longlong"
    assert get("a") == "aa"
    assert computed == ["a", "b", "c", "b", "long"]


def test_values_count_one_by_default() -> None:
    cache: MemoryCache[int, int] = MemoryCache(3)
    for key in range(5):
        cache.get(key, lambda: 0)
    assert cache.total_size == 3


def test_discard() -> None:
    cache: MemoryCache[int, int] = MemoryCache(10)
    for key in range(6):
        cache.get(key, lambda: 0)
    cache.discard(lambda key: key % 2 == 0)
    assert cache.total_size == 3
    assert cache.get(1, lambda: 1) == 0
    assert cache.get(2, lambda: 1) == 1
    cache.discard(lambda key: True)
    assert cache.total_size == 0


def test_a_discard_during_another_operation_of_the_cache_is_applied_after_it() -> None:
    def size_of(value: int) -> int:
        cache.discard(lambda key: key == "old")  # called while the cache is locked
        return 1

    cache: MemoryCache[str, int] = MemoryCache(10, size_of)
    cache.get("old", lambda: 0)
    assert cache.total_size == 0
    assert cache.get("new", lambda: 1) == 1
    assert cache.total_size == 1


@pytest.mark.parametrize("max_size", [0, 1])
def test_threads_that_ask_for_the_same_value_wait_for_one_computation(max_size: int) -> None:
    cache: MemoryCache[str, object] = MemoryCache(max_size)
    started, finish, waiting = Event(), Event(), Event()

    def compute() -> object:
        started.set()
        assert finish.wait(_TIMEOUT)
        return object()

    def progress(fraction: float, message: str) -> None:
        waiting.set()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, "a", compute)
        assert started.wait(_TIMEOUT)
        second = threads.submit(cache.get, "a", object, progress)
        assert waiting.wait(_TIMEOUT)
        finish.set()
        assert first.result(_TIMEOUT) is second.result(_TIMEOUT)


def test_a_waiting_thread_can_be_cancelled_and_takes_over_from_one_that_fails() -> None:
    cache: MemoryCache[str, str] = MemoryCache(1)
    started, fail, waiting = Event(), Event(), Event()

    def compute() -> str:
        started.set()
        assert fail.wait(_TIMEOUT)
        raise ValueError("failed")

    def cancel(fraction: float, message: str) -> None:
        raise Cancelled("Cancelled.")

    def progress(fraction: float, message: str) -> None:
        waiting.set()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, "a", compute)
        assert started.wait(_TIMEOUT)
        with pytest.raises(Cancelled):
            cache.get("a", lambda: "never", cancel)
        second = threads.submit(cache.get, "a", lambda: "computed instead", progress)
        assert waiting.wait(_TIMEOUT)
        fail.set()
        with pytest.raises(ValueError, match="failed"):
            first.result(_TIMEOUT)
        assert second.result(_TIMEOUT) == "computed instead"


def test_a_cache_that_grows_keeps_its_values() -> None:
    cache: MemoryCache[str, int] = MemoryCache(1)
    assert cache.get("a", lambda: 1) == 1
    cache.grow(2)
    cache.grow(1)
    assert cache.max_size == 2
    assert cache.get("b", lambda: 2) == 2
    assert (cache.get("a", lambda: 0), cache.get("b", lambda: 0)) == (1, 2)
