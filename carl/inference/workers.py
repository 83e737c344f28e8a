"""Threads that each run a network on a part of the data, with single-threaded operations.

PyTorch divides every single operation among all cores. The operations of a small network on data
that fits the cache take less than a millisecond, and at the end of each all cores wait for the
slowest one; if another program uses the machine, for as long as that program has a core. Threads
that process separate parts of the data do not wait for each other. On two cores with two other busy
programs this made carl-nano ten times faster; on idle cores it is at least as fast.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from threading import Event, Lock
from typing import Any, Self, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from carl.errors import Cancelled

T = TypeVar("T")
R = TypeVar("R")

_QUEUED_PER_WORKER = 2
"""Items per thread that are submitted in advance."""
_POLL_SECONDS = 0.1
"""Interval at which `waiting` is called."""


class Workers:
    """Pool of as many threads as PyTorch was set to use.

    A context manager, within which PyTorch uses one thread per operation, in the calling thread as
    well. If the context is left by an exception, running work ends after its current operation. The
    threads are kept for the next context: their memory is allocated already, which halves the time
    of the first passes.

    Args:
        device: of the model. Threads are only used for a CPU; for other devices the calling thread
            does the work.
    """

    count = 1
    """Number of threads."""

    # PyTorch's number of threads belongs partly to the process, partly to the calling thread. Of
    # several contexts at a time the first reads it, and each restores it for its own thread.
    _lock = Lock()
    _n_open = 0
    _n_threads = 1

    def __init__(self, device: torch.device) -> None:
        self._uses_threads = device.type == "cpu"
        self._pool: ThreadPoolExecutor | None = None
        self._submitted: set[Future[Any]] = set()
        self._stop = Event()

    def __enter__(self) -> Self:
        if self._uses_threads:
            with Workers._lock:
                if Workers._n_open == 0:
                    Workers._n_threads = torch.get_num_threads()
                Workers._n_open += 1
                torch.set_num_threads(1)
                self.count = Workers._n_threads
            self._pool = _take_pool(self.count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._stop.set()
            for future in list(self._submitted):
                future.cancel()
            wait(list(self._submitted))
            _return_pool(self._pool, self.count)
            self._pool = None
            with Workers._lock:
                Workers._n_open -= 1
                torch.set_num_threads(Workers._n_threads)

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[R]:
        """Apply a function to items in the threads.

        Items are taken from the iterable a few at a time, as threads become free. If the caller
        stops early, work that has not begun is dropped.

        Args:
            function: called in the threads.
            items: one for each call.
            waiting: called many times a second while threads compute; cancels by raising.

        Yields:
            the results in the order of the items.
        """
        if self._pool is None:
            yield from map(function, items)
            return
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                future = self._pool.submit(self._call, function, item)
                self._submitted.add(future)
                future.add_done_callback(self._submitted.discard)
                pending.append(future)
                if len(pending) > _QUEUED_PER_WORKER * self.count:
                    yield _result(pending.popleft(), waiting)
            while pending:
                yield _result(pending.popleft(), waiting)
        finally:
            for future in pending:
                future.cancel()

    @contextmanager
    def threads_per_operation(self, n_threads: int) -> Iterator[None]:
        """Let operations in the current thread of the pool use up to `count` threads."""
        if n_threads == 1:
            yield
            return
        torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            torch.set_num_threads(1)

    def _call(self, function: Callable[[T], R], item: T) -> R:
        with _Interruptible(self._stop):
            return function(item)


def equal_parts(n: int, n_parts: int) -> list[slice]:
    """Return slices that divide n items in a row into parts whose sizes differ by one at most."""
    edges = [n * number // n_parts for number in range(n_parts + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


_idle_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
"""An unused pool by process and number of threads. Threads do not survive a fork."""
_pools_lock = Lock()


def _take_pool(n_threads: int) -> ThreadPoolExecutor:
    with _pools_lock:
        pool = _idle_pools.pop((os.getpid(), n_threads), None)
    return pool or ThreadPoolExecutor(
        n_threads, "inference worker", initializer=torch.set_num_threads, initargs=(1,)
    )


def _return_pool(pool: ThreadPoolExecutor, n_threads: int) -> None:
    with _pools_lock:
        idle = _idle_pools.setdefault((os.getpid(), n_threads), pool)
    if idle is not pool:
        pool.shutdown()


class _Interruptible(TorchFunctionMode):
    """Ends the work of a thread between two operations: a pass of a large network takes seconds."""

    def __init__(self, stop: Event) -> None:
        super().__init__()
        self._stop = stop

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._stop.is_set():
            raise Cancelled("The computation was cancelled.")
        return func(*args, **(kwargs or {}))


def _result(future: Future[R], waiting: Callable[[], None]) -> R:
    while not wait([future], _POLL_SECONDS).done:
        waiting()
    return future.result()
