"""How long work tells its caller where it stands, and how it is called off."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share done (0..1) and what is being done, several times a second.

To call the work off, the callable raises `carl.errors.Cancelled`; the work lets it pass and leaves
nothing half-written.
"""


def no_progress(fraction: float, message: str) -> None:
    """A `Progress` for callers who do not ask."""


def part(progress: Progress, start: float, stop: float) -> Progress:
    """The share `start`..`stop` of a larger piece of work as a `Progress` of its own, 0..1."""

    def report(fraction: float, message: str) -> None:
        progress(start + (stop - start) * fraction, message)

    return report
