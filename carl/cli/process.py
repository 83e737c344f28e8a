"""Exit statuses and signals of the process that runs a command."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

INTERNAL_ERROR = 1
BAD_INPUT = 2
"""Exit status after an error that the user can correct."""
INTERRUPTED = 130
"""Exit status after Ctrl+C or SIGTERM, that of the shells: 128 + SIGINT."""


def handle_signals(handler: Callable[[int, Any], object]) -> None:
    """Call `handler` with the number of a signal and a frame on Ctrl+C and SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
