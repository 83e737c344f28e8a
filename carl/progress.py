"""How long work tells its caller where it stands, and how it is called off."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done (0..1) and what is being done, several times a second.

To call the work off, the callable raises `carl.errors.Cancelled`; the work lets it pass and leaves
nothing half-written.
"""


def no_progress(fraction: float, message: str) -> None:
    """A `Progress` for callers who do not ask."""


def subprogress(progress: Progress, start: float, stop: float) -> Progress:
    """The share `start`..`stop` of a larger piece of work as a `Progress` of its own, 0..1."""

    def report(fraction: float, message: str) -> None:
        progress(start + (stop - start) * fraction, message)

    return report


class TimeLeft:
    """How long work goes on, from how fast it was of late.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: deque[tuple[float, float]] = deque()

    def seconds(self, fraction: float) -> float | None:
        """Seconds until all is done; None as long as it is too early to tell.

        Args:
            fraction: done by now, 0..1.
        """
        now = self._clock()
        if not self._told or now - self._told[-1][0] >= _SAMPLED_EVERY:
            self._told.append((now, fraction))
        while now - self._told[0][0] > _REMEMBERED:
            self._told.popleft()
        since, before = self._told[0]
        if now - since < _TOO_EARLY or fraction <= before:
            return None
        return (1 - fraction) * (now - since) / (fraction - before)

    def note(self, fraction: float) -> str:
        """The same as the end of a line for people: ``", 5 min left"``, or nothing."""
        seconds = self.seconds(fraction)
        if seconds is None:
            return ""
        minutes = round(seconds / 60)
        if minutes >= 60:
            return f", {minutes // 60} h {minutes % 60:02d} min left"
        return f", {minutes} min left" if minutes >= 2 else f", {seconds:.0f} s left"


_SAMPLED_EVERY = 0.5
_TOO_EARLY = 3.0
_REMEMBERED = 60.0
"""Seconds. Long enough to be steady, short enough to forget a step that went at another pace."""
