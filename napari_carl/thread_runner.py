"""Run jobs in threads, one per kind, and deliver their results on the GUI thread."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread, get_native_id
from time import monotonic
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Signal

from carl.errors import Cancelled, CarlError
from carl.progress import Progress
from napari_carl.jobs import Emit, JobKind

_log = logging.getLogger(__name__)

_REPORT_INTERVAL = 0.1
"""Shortest time between two progress reports of a job, seconds: the window redraws for each."""
_MAX_PAUSE = 3.0
"""Longest time the embedding pauses for a segmentation, seconds: a limit, so that a segmentation
that waits for something else cannot block the embedding for good."""
_NICENESS = 5
"""Added to the niceness of job threads, so that the GUI thread runs first where cores are few: it
halved the longest wait of the window on one core."""


@dataclass(eq=False)
class _Job:
    kind: JobKind
    run: Callable[[Progress, Emit], Any]
    arrived: Callable[[Any], None]
    finished: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    progressed: Callable[[float, str], None]
    cancelled: Event = field(default_factory=Event)


class ThreadRunner(QObject):
    """Runs each job in a thread, and jobs of one kind one after the other.

    A new job cancels a running one of its kind and starts when that thread has ended, so two jobs
    of a kind never run at the same time. Of several waiting jobs only the newest is run. The
    embedding, the longest job, pauses while a segmentation runs, because the user waits for that.
    """

    # Qt queues these to the thread this object lives in, the GUI thread.
    _ended = Signal(object, object, object)  # _Job, result, exception or None
    _emitted = Signal(object, object)  # _Job, intermediate result
    _reported = Signal(object, float, str)  # _Job, fraction done, message

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[JobKind, tuple[_Job, Thread]] = {}
        self._waiting: dict[JobKind, _Job] = {}
        self._is_closed = False
        self._no_segmentation = Event()
        self._no_segmentation.set()
        self._ended.connect(self._on_ended)
        self._emitted.connect(self._on_emitted)
        self._reported.connect(self._on_reported)

    def start(
        self,
        kind: JobKind,
        run: Callable[[Progress, Emit], Any],
        *,
        arrived: Callable[[Any], None],
        finished: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        progressed: Callable[[float, str], None],
    ) -> None:
        """Run a job in a thread; callbacks are called on the GUI thread. See `Runner.start`."""
        if self._is_closed:
            return
        new = _Job(kind, run, arrived, finished, failed, progressed)
        if kind in self._running:
            self._running[kind][0].cancelled.set()
            self._waiting[kind] = new
        else:
            self._launch(new)

    def cancel(self, kind: JobKind) -> None:
        """Cancel the running and the waiting job of a kind."""
        self._waiting.pop(kind, None)
        if kind in self._running:
            self._running[kind][0].cancelled.set()

    def close(self) -> None:
        """Cancel all jobs and join their threads; later starts are ignored."""
        self._is_closed = True
        self._waiting.clear()
        for job, _ in self._running.values():
            job.cancelled.set()
        self._no_segmentation.set()
        for _, thread in self._running.values():
            thread.join()
        self._running.clear()

    def _launch(self, job: _Job) -> None:
        thread = Thread(target=self._work, args=(job,), name=f"carl {job.kind}")
        self._running[job.kind] = (job, thread)
        if job.kind is JobKind.SEGMENTING:
            self._no_segmentation.clear()
        thread.start()

    def _work(self, job: _Job) -> None:
        """Run a job; called in its thread."""
        _lower_priority()
        try:
            result = job.run(self._progress_of(job), partial(self._emitted.emit, job))
        except BaseException as error:
            self._ended.emit(job, None, error)
        else:
            self._ended.emit(job, result, None)

    def _progress_of(self, job: _Job) -> Progress:
        last = 0.0

        def progress(fraction: float, message: str) -> None:
            nonlocal last
            if job.kind is JobKind.EMBEDDING:
                self._no_segmentation.wait(_MAX_PAUSE)
            if job.cancelled.is_set():
                raise Cancelled("Cancelled.")
            now = monotonic()
            if now - last >= _REPORT_INTERVAL:
                last = now
                self._reported.emit(job, float(fraction), message)

        return progress

    def _on_reported(self, job: _Job, fraction: float, message: str) -> None:
        if not job.cancelled.is_set() and not self._is_closed:
            job.progressed(fraction, message)

    def _on_emitted(self, job: _Job, result: Any) -> None:
        if not job.cancelled.is_set() and not self._is_closed:
            job.arrived(result)

    def _on_ended(self, job: _Job, result: Any, error: BaseException | None) -> None:
        if self._is_closed:
            return
        self._running.pop(job.kind)[1].join()
        if job.kind is JobKind.SEGMENTING:
            self._no_segmentation.set()
        if job.kind in self._waiting:
            self._launch(self._waiting.pop(job.kind))
        if job.cancelled.is_set():
            return
        if error is not None:
            job.failed(error)
        else:
            job.finished(result)


def _lower_priority() -> None:
    """Lower the priority of this thread and of those it starts; possible on Linux only."""
    if sys.platform == "linux":
        with suppress(OSError):  # the job runs at normal priority
            thread = get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, niceness)


def describe_error(error: BaseException) -> str:
    """Return one sentence about an error for the user."""
    if isinstance(error, CarlError):
        return str(error)
    # torch's own out-of-memory error is compared by name, so that torch need not be imported.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "Not enough memory for this cube: crop it, or close other programs."
    return (
        f"An internal error occurred in CARL ({type(error).__name__}). Your layers are unchanged; "
        "the log has the details."
    )


def notify(error: BaseException) -> None:
    """Show an error as a notification; log a defect of this program with its traceback."""
    if not isinstance(error, CarlError):
        _log.error("A job failed", exc_info=error)
    show_error(describe_error(error))
