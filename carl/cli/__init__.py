"""Command line ``carl``: the library from a shell, without a screen.

Each command parses its arguments, calls one function of the library and prints the result. PyTorch
is imported only by the commands that need it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from carl.cli.process import INTERRUPTED, handle_signals

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status.

    Exit statuses: 0 success, 1 internal error, 2 an error the user can correct, 130 interrupted by
    Ctrl+C or SIGTERM. Every status but 0 comes with one line on stderr; with ``CARL_DEBUG=1`` in
    the environment a traceback precedes it.

    Args:
        arguments: those after ``carl``; by default those of the process.
    """
    handle_signals(_exit_at_once)
    # Imported here: an interruption of the imports, which take a while, has no traceback either.
    from carl.cli.app import run_and_exit

    run_and_exit(arguments)


def _exit_at_once(number: int, frame: Any) -> None:
    """Handle a signal that arrives before the command runs."""
    os.write(2, b"carl: Interrupted: nothing was written.\n")
    os._exit(INTERRUPTED)
