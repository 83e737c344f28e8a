"""Work off the GUI thread: one worker per kind of task, results delivered on the GUI thread."""

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
from napari_carl.jobs import Give, JobKind

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_REPORTS = 0.1
_LONGEST_STANDSTILL = 3.0
"""Seconds the embedding stands still for a map to be learned: bounded, so that nothing can lock."""
_NICENESS = 5
"""Of work, so that the window comes first where cores are few: it waited half as long for one."""


@dataclass(eq=False)
class _Job:
    task: JobKind
    run: Callable[[Progress, Give], Any]
    arrived: Callable[[Any], None]
    finished: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    progressed: Callable[[float, str], None]
    cancelled: Event = field(default_factory=Event)


class ThreadRunner(QObject):
    """Runs each kind of task in a thread of its own, one job after the other.

    A job that is started while an older one of its kind still runs cancels that one and waits for
    its thread to come back, so two never touch the same things at once. Whatever is still waiting
    then is dropped in favour of the newest. The embedding, which takes longest, stands still while
    a map is being learned, which somebody waits for.
    """

    # Queued by Qt to the thread this object lives in, the GUI thread.
    _ended = Signal(object, object, object)  # _Job, result, exception or None
    _given = Signal(object, object)  # _Job, what it has ready
    _reported = Signal(object, float, str)  # _Job, share done, what is being done

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[JobKind, tuple[_Job, Thread]] = {}
        self._waiting: dict[JobKind, _Job] = {}
        self._is_closed = False
        self._nobody_learns = Event()
        self._nobody_learns.set()
        self._ended.connect(self._on_ended)
        self._given.connect(self._on_given)
        self._reported.connect(self._on_reported)

    def start(
        self,
        task: JobKind,
        job: Callable[[Progress, Give], Any],
        *,
        arrived: Callable[[Any], None],
        finished: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        progressed: Callable[[float, str], None],
    ) -> None:
        """Run `job` in a thread; the callables are called on the GUI thread."""
        if self._is_closed:
            return
        new = _Job(task, job, arrived, finished, failed, progressed)
        if task in self._running:
            self._running[task][0].cancelled.set()
            self._waiting[task] = new
        else:
            self._launch(new)

    def cancel(self, task: JobKind) -> None:
        """Call off what runs and what waits of this kind."""
        self._waiting.pop(task, None)
        if task in self._running:
            self._running[task][0].cancelled.set()

    def close(self) -> None:
        """Call everything off and wait until no thread is left; nothing can be started after."""
        self._is_closed = True
        self._waiting.clear()
        for job, _ in self._running.values():
            job.cancelled.set()
        self._nobody_learns.set()
        for _, thread in self._running.values():
            thread.join()
        self._running.clear()

    def _launch(self, job: _Job) -> None:
        thread = Thread(target=self._work, args=(job,), name=f"carl {job.task}")
        self._running[job.task] = (job, thread)
        self._mark_learning()
        thread.start()

    def _mark_learning(self) -> None:
        if JobKind.SEGMENTING in self._running:
            self._nobody_learns.clear()
        else:
            self._nobody_learns.set()

    def _work(self, job: _Job) -> None:
        """In the worker's thread."""
        _step_back()
        try:
            result = job.run(self._progress_of(job), partial(self._given.emit, job))
        except BaseException as error:
            self._ended.emit(job, None, error)
        else:
            self._ended.emit(job, result, None)

    def _progress_of(self, job: _Job) -> Progress:
        last = 0.0

        def progress(fraction: float, message: str) -> None:
            nonlocal last
            if job.task is JobKind.EMBEDDING:
                self._nobody_learns.wait(_LONGEST_STANDSTILL)
            if job.cancelled.is_set():
                raise Cancelled("Called off.")
            now = monotonic()
            if now - last >= _SECONDS_BETWEEN_REPORTS:
                last = now
                self._reported.emit(job, float(fraction), message)

        return progress

    def _on_reported(self, job: _Job, fraction: float, message: str) -> None:
        if not job.cancelled.is_set() and not self._is_closed:
            job.progressed(fraction, message)

    def _on_given(self, job: _Job, piece: Any) -> None:
        if not job.cancelled.is_set() and not self._is_closed:
            job.arrived(piece)

    def _on_ended(self, job: _Job, result: Any, error: BaseException | None) -> None:
        if self._is_closed:
            return
        self._running.pop(job.task)[1].join()
        self._mark_learning()
        if job.task in self._waiting:
            self._launch(self._waiting.pop(job.task))
        if job.cancelled.is_set():
            return
        if error is not None:
            job.failed(error)
        else:
            job.finished(result)


def _step_back() -> None:
    """Let the window be served before this thread and those that it starts.

    Linux alone gives threads priorities of their own in this way.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # work is done all the same
            thread = get_native_id()
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, niceness)


def explain(error: BaseException) -> str:
    """One sentence for the person at the screen."""
    if isinstance(error, CarlError):
        return str(error)
    # torch's own out-of-memory error is known by name, so that torch need not be imported for it.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "The memory does not suffice for this cube: crop it, or close other programs."
    return (
        f"Something went wrong inside CARL ({type(error).__name__}); your layers are as they were, "
        "and the log has the details."
    )


def notify(error: BaseException) -> None:
    """Show an error as a notification; a defect of ours goes to the log with its traceback."""
    if not isinstance(error, CarlError):
        _log.error("A task failed", exc_info=error)
    show_error(explain(error))
