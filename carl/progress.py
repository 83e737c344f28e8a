"""Progress reports of long computations, cancellation and the remaining time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called several times a second with the completed fraction (0..1) and the current step.

It cancels the computation by raising `carl.errors.Cancelled`, which the computation does not catch
and after which it leaves no incomplete files.
"""


def no_progress(fraction: float, message: str) -> None:
    """Ignore a progress report: the default where none is wanted."""


def subprogress(progress: Progress, start: float, stop: float) -> Progress:
    """Return a `Progress` of one step, whose 0..1 is `start`..`stop` of the whole computation."""

    def report(fraction: float, message: str) -> None:
        progress(start + (stop - start) * fraction, message)

    return report


class TimeLeft:
    """Estimate of the remaining time, from the recent speed by a clock in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque()

    def seconds(self, fraction: float) -> float | None:
        """Return the seconds left after a fraction (0..1); None if it is too early to know."""
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= _SAMPLE_INTERVAL:
            self._samples.append((now, fraction))
        while now - self._samples[0][0] > _WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        if now - since < _MIN_ELAPSED or fraction <= before:
            return None
        return (1 - fraction) * (now - since) / (fraction - before)

    def text(self, fraction: float) -> str:
        """Return the remaining time as the end of a line, ``", 5 min left"``; empty if unknown."""
        seconds = self.seconds(fraction)
        if seconds is None:
            return ""
        minutes = round(seconds / 60)
        if minutes >= 60:
            return f", {minutes // 60} h {minutes % 60:02d} min left"
        return f", {minutes} min left" if minutes >= 2 else f", {seconds:.0f} s left"


_SAMPLE_INTERVAL = 0.5
"""Seconds between two stored samples of the progress."""
_MIN_ELAPSED = 3.0
"""Seconds of samples before the first estimate."""
_WINDOW = 60.0
"""Seconds of samples that an estimate uses: steady, and soon without those of an earlier step."""
