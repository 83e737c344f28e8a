"""Threads that each run a network on a piece of their own.

PyTorch spreads every single operation over all cores. The operations of a small network on a piece
that fits the cache take less than a millisecond, and at the end of each all cores wait for the
slowest: where another program uses the machine, for as long as that one is given a core. Passing
whole pieces to threads that compute alone avoids this. On two cores with two other busy programs,
it made carl-nano ten times as fast; on idle cores it is at least as fast.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise
from threading import Event, Lock
from typing import Any, Self, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from carl.errors import Cancelled

T = TypeVar("T")
R = TypeVar("R")

_QUEUED_PER_WORKER = 2
_LOOK_EVERY = 0.1
"""Seconds between two looks at whether the caller still wants a result."""


class Workers:
    """As many threads as PyTorch was set to use, each computing on its own.

    A context manager, within which PyTorch keeps to one thread an operation, in the calling thread
    too. When the context is left by an exception, what the threads are at ends with the operation
    they are in. The threads then wait for the next context: with memory at hand that they used
    before, the first passes take half the time.

    Args:
        device: of the model. Only a CPU has a use for threads; on other devices the calling thread
            does the work.
    """

    count = 1
    """Threads that compute at the same time."""

    _lock = Lock()
    _n_open = 0
    _n_threads = 1

    def __init__(self, device: torch.device) -> None:
        self._wanted = device.type == "cpu"
        self._pool: ThreadPoolExecutor | None = None
        self._submitted: set[Future[Any]] = set()
        self._stop = Event()

    def __enter__(self) -> Self:
        if self._wanted:
            n_threads = self._take_threads()
            self.count = n_threads
            self._pool = _borrow_pool(n_threads)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._stop.set()
            for future in list(self._submitted):
                future.cancel()
            wait(list(self._submitted))
            _give_pool_back(self._pool, self.count)
            self._pool = None
            self._give_threads_back()

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[R]:
        """Results of a function, in the order of the items.

        Items are taken a few at a time, as workers become free. When the caller stops early, what
        has not begun is dropped.

        Args:
            function: called in the threads.
            items: one for each call.
            waiting: called many times a second while threads compute; calls it off by raising.
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

    def _call(self, function: Callable[[T], R], item: T) -> R:
        with _Interruptible(self._stop):
            return function(item)

    # The number of threads belongs partly to the process, partly to the calling thread. Of several
    # contexts at a time the first reads it, and each sets it back for its own thread.

    @classmethod
    def _take_threads(cls) -> int:
        with cls._lock:
            if cls._n_open == 0:
                cls._n_threads = torch.get_num_threads()
            cls._n_open += 1
            torch.set_num_threads(1)
            return cls._n_threads

    @classmethod
    def _give_threads_back(cls) -> None:
        with cls._lock:
            cls._n_open -= 1
            torch.set_num_threads(cls._n_threads)


def equal_parts(n: int, n_parts: int) -> list[slice]:
    """Slices that cut n things in a row into parts, as equal as can be."""
    edges = [n * number // n_parts for number in range(n_parts + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


_idle_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
"""By process and number of threads: one that nobody uses. Threads do not survive a fork."""
_pools_lock = Lock()


def _borrow_pool(n_threads: int) -> ThreadPoolExecutor:
    with _pools_lock:
        pool = _idle_pools.pop((os.getpid(), n_threads), None)
    return pool or ThreadPoolExecutor(
        n_threads, "inference worker", initializer=torch.set_num_threads, initargs=(1,)
    )


def _give_pool_back(pool: ThreadPoolExecutor, n_threads: int) -> None:
    with _pools_lock:
        kept = _idle_pools.setdefault((os.getpid(), n_threads), pool)
    if kept is not pool:
        pool.shutdown()


class _Interruptible(TorchFunctionMode):
    """Ends the work of a thread between two operations: a large network takes seconds for a pass.

    Args:
        stop: set when the work is no longer wanted.
    """

    def __init__(self, stop: Event) -> None:
        super().__init__()
        self._stop = stop

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._stop.is_set():
            raise Cancelled("The work was called off.")
        return func(*args, **(kwargs or {}))


def _result(future: Future[R], waiting: Callable[[], None]) -> R:
    while not wait([future], _LOOK_EVERY).done:
        waiting()
    return future.result()
