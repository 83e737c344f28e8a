"""Threads, progress and errors; uses Qt's event loop, but no window."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import weakref
from time import sleep

import numpy as np
import pytest

from carl.errors import CubeError
from napari_carl.jobs import JobKind
from napari_carl.thread_runner import ThreadRunner, describe_error, notify

LONG_S = 600


@pytest.fixture
def runner(qtbot):
    made = ThreadRunner()
    yield made
    made.close()
    assert not carl_threads()


def carl_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("carl ")]


class Outcome:
    """What the callbacks of a job received, and in which threads."""

    def __init__(self):
        self.results, self.errors, self.progress, self.threads = [], [], [], set()
        self.intermediate = []

    def callbacks(self):
        return {
            "arrived": self._into(self.intermediate),
            "finished": self._into(self.results),
            "failed": self._into(self.errors),
            "progressed": lambda *report: self._into(self.progress)(report),
        }

    def _into(self, heap):
        def take(value):
            self.threads.add(threading.current_thread())
            heap.append(value)

        return take


def until_cancelled(progress, emit):
    while True:
        progress(0.5, "working")
        sleep(0.001)


def test_a_job_runs_in_a_thread_and_its_result_is_delivered_on_the_gui_thread(runner, qtbot):
    outcome, ran_in = Outcome(), []

    def job(progress, emit):
        ran_in.append(threading.current_thread())
        return "map"

    runner.start(JobKind.SEGMENTING, job, **outcome.callbacks())
    qtbot.waitUntil(lambda: outcome.results == ["map"])

    assert ran_in[0].name == "carl segmenting"
    assert outcome.threads == {threading.main_thread()}
    assert not carl_threads()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_jobs_have_a_lower_priority_than_the_window(runner, qtbot):
    outcome, here = Outcome(), os.getpriority(os.PRIO_PROCESS, 0)

    def job(progress, emit):
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    runner.start(JobKind.SEGMENTING, job, **outcome.callbacks())
    qtbot.waitUntil(lambda: bool(outcome.results))

    assert outcome.results[0] > here
    assert os.getpriority(os.PRIO_PROCESS, 0) == here


def test_intermediate_results_are_delivered_while_the_job_runs(runner, qtbot):
    outcome, go_on = Outcome(), threading.Event()

    def job(progress, emit):
        emit("coarse")
        assert go_on.wait(LONG_S)
        emit("fine")

    runner.start(JobKind.SEGMENTING, job, **outcome.callbacks())
    qtbot.waitUntil(lambda: outcome.intermediate == ["coarse"])
    assert outcome.results == []

    go_on.set()
    qtbot.waitUntil(lambda: outcome.results == [None])
    assert outcome.intermediate == ["coarse", "fine"]
    assert outcome.threads == {threading.main_thread()}


def test_an_error_is_delivered(runner, qtbot):
    outcome, error = Outcome(), CubeError("broken")

    def job(progress, emit):
        raise error

    runner.start(JobKind.SEGMENTING, job, **outcome.callbacks())
    qtbot.waitUntil(lambda: outcome.errors == [error])


def test_progress_comes_at_most_ten_times_a_second(runner, qtbot, monkeypatch):
    outcome = Outcome()
    times = np.arange(1, 5, 1 / 64)  # seconds; the steps are exact in binary numbers
    clock = iter(times.tolist())
    monkeypatch.setattr("napari_carl.thread_runner.monotonic", lambda: next(clock))

    def job(progress, emit):
        for _ in times:
            progress(0.5, "working")

    runner.start(JobKind.SEGMENTING, job, **outcome.callbacks())
    qtbot.waitUntil(lambda: outcome.results == [None])

    # Every seventh call is more than 0.1 s after the last report.
    assert len(outcome.progress) == np.ceil(len(times) / 7) == 37
    assert outcome.progress[0] == (0.5, "working")


def test_cancelling_stops_the_job_and_delivers_nothing(runner, qtbot):
    outcome = Outcome()
    runner.start(JobKind.SEGMENTING, until_cancelled, **outcome.callbacks())
    qtbot.waitUntil(lambda: bool(outcome.progress))

    runner.cancel(JobKind.SEGMENTING)
    qtbot.wait_for_threads()

    assert (outcome.results, outcome.errors) == ([], [])


def test_a_newer_job_replaces_an_older_one_and_never_runs_at_the_same_time(runner, qtbot):
    first, second, third = Outcome(), Outcome(), Outcome()
    most = []

    def job(progress, emit):
        most.append(len(carl_threads()))
        return "third"

    runner.start(JobKind.SEGMENTING, until_cancelled, **first.callbacks())
    runner.start(JobKind.SEGMENTING, lambda progress, emit: "second", **second.callbacks())
    runner.start(JobKind.SEGMENTING, job, **third.callbacks())
    qtbot.waitUntil(lambda: third.results == ["third"])

    assert first.results == second.results == []
    assert most == [1]


def test_kinds_run_in_parallel(runner, qtbot):
    barrier = threading.Barrier(2, timeout=LONG_S)
    one, other = Outcome(), Outcome()

    runner.start(JobKind.EXPORTING, lambda progress, emit: barrier.wait(), **one.callbacks())
    runner.start(JobKind.SPECTRA, lambda progress, emit: barrier.wait(), **other.callbacks())

    qtbot.waitUntil(lambda: bool(one.results and other.results))


def test_the_embedding_pauses_while_the_cube_is_segmented(runner, qtbot, monkeypatch):
    monkeypatch.setattr("napari_carl.thread_runner._MAX_PAUSE", LONG_S)
    events, may_ask, may_end = [], threading.Semaphore(0), threading.Event()

    def embed(progress, emit):
        for step in ("first", "second"):
            assert may_ask.acquire(timeout=LONG_S)
            events.append(f"{step} step of the embedding asks")
            progress(0.5, "working")
            events.append(f"{step} step of the embedding goes on")

    def segment(progress, emit):
        assert may_end.wait(LONG_S)
        events.append("segmentation ends")

    runner.start(JobKind.EMBEDDING, embed, **Outcome().callbacks())
    may_ask.release()
    qtbot.waitUntil(lambda: len(events) == 2)
    runner.start(JobKind.SEGMENTING, segment, **Outcome().callbacks())
    may_ask.release()
    qtbot.waitUntil(lambda: len(events) == 3)
    may_end.set()
    qtbot.wait_for_threads()

    assert events == [
        "first step of the embedding asks",
        "first step of the embedding goes on",
        "second step of the embedding asks",
        "segmentation ends",
        "second step of the embedding goes on",
    ]


def test_closing_joins_all_threads_and_drops_their_results(runner, qtbot):
    outcome = Outcome()
    runner.start(JobKind.EMBEDDING, until_cancelled, **outcome.callbacks())
    runner.start(JobKind.SEGMENTING, until_cancelled, **outcome.callbacks())

    runner.close()
    assert not carl_threads()

    runner.start(JobKind.SEGMENTING, lambda progress, emit: "too late", **outcome.callbacks())
    qtbot.deliver_events()
    assert (outcome.results, outcome.errors) == ([], [])


def test_a_runner_keeps_no_reference_to_a_finished_job(runner, qtbot):
    class Result:
        pass

    result = Result()
    gone, taken = weakref.ref(result), []
    runner.start(
        JobKind.SEGMENTING,
        lambda progress, emit, result=result: result,
        arrived=taken.append,
        finished=lambda _: taken.append(True),
        failed=taken.append,
        progressed=lambda *_: None,
    )
    del result
    qtbot.waitUntil(lambda: taken == [True])
    qtbot.deliver_events()
    gc.collect()

    assert gone() is None


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CubeError("bladder.tif is cut short."), "bladder.tif is cut short."),
        (MemoryError(), "Not enough memory"),
        (OutOfMemoryError(), "Not enough memory"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError"),
    ],
)
def test_every_error_is_described_in_one_sentence(error, words):
    sentence = describe_error(error)

    assert words in sentence
    assert "\n" not in sentence


def test_only_defects_are_logged(monkeypatch, caplog):
    shown = []
    monkeypatch.setattr("napari_carl.thread_runner.show_error", shown.append)

    with caplog.at_level(logging.ERROR, "napari_carl.thread_runner"):
        notify(CubeError("bladder.tif is cut short."))
        assert caplog.records == []
        notify(ZeroDivisionError("division by zero"))

    assert shown[0] == "bladder.tif is cut short."
    assert caplog.records[0].exc_info[0] is ZeroDivisionError
