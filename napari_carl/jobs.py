"""Long work of a session: at most one of a kind, and a late result never overwrites a newer one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from psygnal import Signal

from carl.errors import Cancelled
from carl.progress import Progress

T = TypeVar("T")

Give = Callable[[Any], None]
"""How a job hands out something before its end."""


class JobKind(StrEnum):
    """Kinds of long work."""

    PRELOADING = "preloading"
    OPENING = "opening"
    PICTURE = "picture"
    CURSOR = "cursor"
    SPECTRA = "spectra"
    PRECOMPUTING = "looking"
    EMBEDDING = "embedding"
    SEGMENTING = "learning"
    FINE_TUNING = "fine-tuning"
    SAVING = "saving"
    EXPORTING = "exporting"
    RESTORING = "restoring"
    AUTOSAVING = "autosaving"


@dataclass(frozen=True)
class JobState:
    """Where a running task stands: share done, 0..1, and what it is doing."""

    fraction: float = 0.0
    message: str = ""


class Runner(Protocol):
    """Runs jobs. The dock's runs them in threads, the one of the tests when it is told to."""

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
        """Run `job` in place of any older one of the same kind.

        What the job gives before its end goes to `arrived`. All callables are called where the
        session lives.
        """

    def cancel(self, task: JobKind) -> None:
        """Make the `progress` of that job raise `Cancelled` when next called."""


class Jobs:
    """What is running, and whose results are still wanted.

    Each start and each cancel makes a new generation of its kind; what comes back from an older
    generation is dropped, be it a result, an error or a word of progress.
    """

    changed = Signal(str)  # a JobKind has begun, moved on or ended
    failed = Signal(object)  # the exception that ended one

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._generations: dict[JobKind, int] = dict.fromkeys(JobKind, 0)
        self._states: dict[JobKind, JobState] = {}

    def state(self, task: JobKind) -> JobState | None:
        """Where the task stands, or None if none of its kind runs."""
        return self._states.get(task)

    def start(self, task: JobKind, job: Callable[[Progress], T], then: Callable[[T], None]) -> None:
        """Run `job`; hand its result to `then` unless something newer was started meanwhile."""
        self._start(task, lambda progress, _: job(progress), lambda _: None, then)

    def stream(
        self, task: JobKind, job: Callable[[Progress], Iterator[T]], each: Callable[[T], None]
    ) -> None:
        """Run `job`; hand to `each` what it yields, as long as nothing newer has been started."""

        def run(progress: Progress, give: Give) -> None:
            for piece in job(progress):
                give(piece)

        self._start(task, run, each, lambda _: None)

    def _start(
        self,
        task: JobKind,
        job: Callable[[Progress, Give], Any],
        each: Callable[[Any], None],
        then: Callable[[Any], None],
    ) -> None:
        generation = self._renew(task)

        def is_wanted() -> bool:
            return self._generations[task] == generation

        def arrived(piece: Any) -> None:
            if is_wanted():
                each(piece)

        def finished(result: Any) -> None:
            if is_wanted():
                del self._states[task]
                then(result)
                self.changed.emit(task)

        def failed(error: BaseException) -> None:
            if is_wanted():
                del self._states[task]
                self.changed.emit(task)
                if not isinstance(error, Cancelled):
                    self.failed.emit(error)

        def progressed(fraction: float, message: str) -> None:
            if is_wanted():
                self._states[task] = JobState(fraction, message)
                self.changed.emit(task)

        self._states[task] = JobState()
        self.changed.emit(task)
        self._runner.start(
            task, job, arrived=arrived, finished=finished, failed=failed, progressed=progressed
        )

    def cancel(self, *tasks: JobKind) -> None:
        """Call off the running jobs of these kinds; of all kinds if none is named."""
        for task in tasks or tuple(JobKind):
            if task in self._states:
                self._renew(task)
                self._runner.cancel(task)
                del self._states[task]
                self.changed.emit(task)

    def _renew(self, task: JobKind) -> int:
        self._generations[task] += 1
        return self._generations[task]
