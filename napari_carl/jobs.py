"""Background jobs of a session: at most one of each kind; results of replaced jobs are dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from psygnal import Signal

from carl.errors import Cancelled
from carl.progress import Progress

T = TypeVar("T")

Emit = Callable[[Any], None]
"""Delivers an intermediate result of a job."""


class JobKind(StrEnum):
    """Kinds of background jobs."""

    PRELOADING = "preloading"
    OPENING = "opening"
    READING_WAVELENGTHS = "reading wavelengths"
    EXAMINING = "examining wavelengths"
    PICTURE = "picture"
    CURSOR = "cursor"
    SPECTRA = "spectra"
    PRECOMPUTING = "precomputing"
    EMBEDDING = "embedding"
    SEGMENTING = "segmenting"
    FINE_TUNING = "fine-tuning"
    LOADING = "loading"
    SAVING = "saving"
    EXPORTING = "exporting"
    READING_LABELS = "reading labels"
    SCORING = "scoring"
    RESTORING = "restoring"
    AUTOSAVING = "autosaving"


@dataclass(frozen=True)
class JobState:
    """Progress of a running job: fraction done, 0..1, and a message for the user."""

    fraction: float = 0.0
    message: str = ""


class Runner(Protocol):
    """Runs jobs: in threads in the dock, on request in tests."""

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
        """Run a job in place of any earlier one of the same kind.

        All callbacks are called in the thread of the session.

        Args:
            kind: kind of the job.
            run: the job; takes a progress callback and a function that delivers intermediate
                results, and returns the final result.
            arrived: called with every intermediate result.
            finished: called with the final result.
            failed: called with the exception that ended the job.
            progressed: called with the fraction done and a message.
        """

    def cancel(self, kind: JobKind) -> None:
        """Make the progress callback of the running job raise `Cancelled` when next called."""


class Jobs:
    """The running jobs of a session.

    Each start and each cancellation begins a new generation of its kind. Results, errors and
    progress of earlier generations are dropped, so a late result never replaces a newer one.
    """

    changed = Signal(str)  # JobKind of a job that has started, advanced or ended
    failed = Signal(object, object)  # JobKind, exception that ended the job

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._generations: dict[JobKind, int] = dict.fromkeys(JobKind, 0)
        self._states: dict[JobKind, JobState] = {}

    def state(self, kind: JobKind) -> JobState | None:
        """Return the progress of the running job of a kind, or None if there is none."""
        return self._states.get(kind)

    def start(self, kind: JobKind, run: Callable[[Progress], T], then: Callable[[T], None]) -> None:
        """Run a job and pass its result to `then`, unless it is replaced or cancelled before."""
        self._start(kind, lambda progress, _: run(progress), lambda _: None, then)

    def stream(
        self, kind: JobKind, run: Callable[[Progress], Iterator[T]], each: Callable[[T], None]
    ) -> None:
        """Run a job and pass all it yields to `each`, until it is replaced or cancelled."""

        def run_all(progress: Progress, emit: Emit) -> None:
            for result in run(progress):
                emit(result)

        self._start(kind, run_all, each, lambda _: None)

    def _start(
        self,
        kind: JobKind,
        run: Callable[[Progress, Emit], Any],
        each: Callable[[Any], None],
        then: Callable[[Any], None],
    ) -> None:
        generation = self._next_generation(kind)

        def is_current() -> bool:
            return self._generations[kind] == generation

        def arrived(result: Any) -> None:
            if is_current():
                each(result)

        def finished(result: Any) -> None:
            if is_current():
                del self._states[kind]
                then(result)
                self.changed.emit(kind)

        def failed(error: BaseException) -> None:
            if is_current():
                del self._states[kind]
                self.changed.emit(kind)
                if not isinstance(error, Cancelled):
                    self.failed.emit(kind, error)

        def progressed(fraction: float, message: str) -> None:
            if is_current():
                self._states[kind] = JobState(fraction, message)
                self.changed.emit(kind)

        self._states[kind] = JobState()
        self.changed.emit(kind)
        self._runner.start(
            kind, run, arrived=arrived, finished=finished, failed=failed, progressed=progressed
        )

    def cancel(self, *kinds: JobKind) -> None:
        """Cancel the running jobs of these kinds."""
        for kind in kinds:
            if kind in self._states:
                self._next_generation(kind)
                self._runner.cancel(kind)
                del self._states[kind]
                self.changed.emit(kind)

    def _next_generation(self, kind: JobKind) -> int:
        self._generations[kind] += 1
        return self._generations[kind]
