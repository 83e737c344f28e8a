"""In-memory cache of the values used last, each computed by one thread at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from threading import Lock
from typing import Any, Generic, TypeVar, cast

from cachetools import LRUCache

from carl.progress import Progress, no_progress

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_POLL_SECONDS = 0.1
"""Interval at which a waiting thread reports progress, and so can be cancelled."""

_MISSING = object()
"""Stands for a value that is not cached; None may be cached."""


class MemoryCache(Generic[K, V]):
    """The values used last, up to a total size. Safe to share between threads.

    Args:
        max_size: largest total size of the cached values, in the unit of `size_of`. A value larger
            than that is returned but not cached.
        size_of: size of a value, for example in bytes; by default each counts 1.
    """

    def __init__(self, max_size: int, size_of: Callable[[V], int] | None = None) -> None:
        self._values: LRUCache[K, Any] = LRUCache(max_size, size_of)
        self._computing: dict[K, Future[V]] = {}
        self._lock = Lock()
        self._discarded: deque[Callable[[K], bool]] = deque()

    @property
    def total_size(self) -> int:
        """Total size of the cached values, in the unit of `size_of`."""
        return int(self._values.currsize)

    @property
    def max_size(self) -> int:
        """Largest total size of the cached values."""
        return int(self._values.maxsize)

    def grow(self, max_size: int) -> None:
        """Raise the largest total size of the cached values, if it is smaller than `max_size`."""
        with self._locked():
            if max_size > self._values.maxsize:
                values: LRUCache[K, Any] = LRUCache(max_size, self._values.getsizeof)
                values.update(self._values)
                self._values = values

    def get(self, key: K, compute: Callable[[], V], progress: Progress = no_progress) -> V:
        """Return the value of a key, computed unless it is cached.

        Of several threads that ask for the same value, one computes it and the others wait, calling
        `progress`. If it fails or is cancelled, one of the others computes it instead.
        """
        while True:
            with self._lock:
                value = self._values.get(key, _MISSING)
                other = self._computing.get(key)
                if value is _MISSING and other is None:
                    own = self._computing[key] = Future()
            self._apply_discards()
            if value is not _MISSING:
                return cast(V, value)
            if other is None:
                break
            while not wait([other], _POLL_SECONDS).done:
                progress(0.0, "Waiting for the same computation in another thread")
            if other.exception() is None:
                return other.result()
        try:
            value = compute()
        except BaseException as error:
            with self._locked():
                del self._computing[key]
            own.set_exception(error)
            raise
        with self._locked():
            del self._computing[key]
            if self._values.getsizeof(value) <= self._values.maxsize:
                self._values[key] = value
        own.set_result(value)
        return value

    def discard(self, predicate: Callable[[K], bool]) -> None:
        """Remove the values of all keys for which `predicate` is true.

        May be called by a finalizer, which can interrupt any thread at any point: if the cache is
        locked, the thread that holds the lock removes the values.
        """
        self._discarded.append(predicate)
        self._apply_discards()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            yield
        self._apply_discards()

    def _apply_discards(self) -> None:
        while self._discarded and self._lock.acquire(blocking=False):
            try:
                while self._discarded:
                    predicate = self._discarded.popleft()
                    for key in [each for each in self._values if predicate(each)]:
                        del self._values[key]
            finally:
                self._lock.release()
