from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from carl.inference.workers import Workers

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_are_in_order_from_single_threaded_workers() -> None:
    def describe(item: int) -> tuple[int, str, int]:
        return item, threading.current_thread().name, torch.get_num_threads()

    with Workers(CPU) as workers:
        results = list(workers.map(describe, range(50)))
        assert torch.get_num_threads() == 1
    assert [item for item, _, _ in results] == list(range(50))
    assert all(name.startswith("inference worker") and n == 1 for _, name, n in results)
    assert torch.get_num_threads() == 3


def test_items_are_taken_as_workers_become_free() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    with Workers(CPU) as workers:
        results = workers.map(lambda item: item, items())
        assert next(results) == 0
        assert len(taken) < 20


def test_an_error_ends_the_work() -> None:
    def fail(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    def work() -> None:
        with Workers(CPU) as workers:
            for _ in workers.map(fail, range(100)):
                pass

    for _ in range(3):
        with pytest.raises(ValueError, match="five"):
            work()
        assert torch.get_num_threads() == 3


def test_threads_are_reused_by_the_next_context_and_never_shared() -> None:
    def names(workers: Workers) -> set[int]:
        return set(workers.map(lambda _: threading.get_ident(), range(30)))

    with Workers(CPU) as first:
        used = names(first)
        with Workers(CPU) as second:
            assert not used & names(second)
    before = threading.active_count()
    with Workers(CPU) as third:
        assert names(third)
    assert threading.active_count() == before


def test_the_last_of_several_contexts_restores_the_number_of_threads() -> None:
    first, second = Workers(CPU), Workers(CPU)
    first.__enter__()
    list(first.map(abs, range(9)))
    second.__enter__()
    first.__exit__()
    assert sum(second.map(abs, range(9))) == 36
    second.__exit__()
    assert torch.get_num_threads() == 3


def test_a_worker_can_use_several_threads_per_operation() -> None:
    def n_threads(wanted: int) -> tuple[int, int, int]:
        before = torch.get_num_threads()
        with workers.threads_per_operation(wanted):
            inside = torch.get_num_threads()
        return before, inside, torch.get_num_threads()

    with Workers(CPU) as workers:
        assert list(workers.map(n_threads, [1, 3])) == [(1, 1, 1), (1, 3, 1)]
    assert torch.get_num_threads() == 3


def test_other_devices_are_used_from_the_calling_thread() -> None:
    with Workers(torch.device("cuda")) as workers:
        names = set(workers.map(lambda _: threading.current_thread().name, range(3)))
    assert names == {threading.current_thread().name}


def test_a_cancelled_computation_ends_after_the_current_operation() -> None:
    begun = threading.Event()
    operations: list[int] = []

    def work(item: int) -> None:
        begun.set()
        for number in range(10**6):
            torch.zeros(10_000)
            operations.append(number)

    def cancel() -> None:
        if begun.is_set():
            raise KeyboardInterrupt

    def wait_for_work() -> None:
        with Workers(CPU) as workers:
            list(workers.map(work, range(3), cancel))

    with pytest.raises(KeyboardInterrupt):
        wait_for_work()
    assert len(operations) < 3 * 10**6
