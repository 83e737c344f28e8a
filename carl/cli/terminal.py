"""Print results on stdout (rows, tables, JSON) and progress on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import typer

from carl.display import format_rows
from carl.errors import printable
from carl.progress import Progress, TimeLeft, no_progress

_NUMBER_LISTS = re.compile(r"\[[-+.\deaflnrstu,\s]*\]")
"""Lists of numbers, true, false and null in indented JSON."""
_BAR_WIDTH = 24
"""Characters of the progress bar."""
_REDRAW_SECONDS = 0.1
"""Time between two drawings of the progress bar."""


def print_json(value: Any) -> None:
    """Print a result as JSON, a list of numbers on one line, NaN and infinity as null."""
    text = json.dumps(_to_json(value), indent=2, ensure_ascii=False)
    text = _NUMBER_LISTS.sub(lambda found: " ".join(found[0].split()), text)
    # JSON has escapes for the ASCII control characters: line breaks are those of the layout.
    lines = (_escaped(line) for line in text.split("\n"))
    typer.echo("\n".join(lines))


def print_rows(rows: Mapping[str, object]) -> None:
    """Print names and values, one pair per line, the values aligned."""
    typer.echo(format_rows({printable(name): printable(str(rows[name])) for name in rows}))


def print_table(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; columns of integers are right-aligned."""
    headings = [printable(cell) for cell in heading]
    rows = [[printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(len(str(cell)) for cell in column) for column in columns]
    marks = [
        ">" if rows and all(isinstance(cell, int) for cell in column[1:]) else "<"
        for column in columns
    ]
    for row in (headings, *rows):
        cells = zip(row, marks, widths, strict=True)
        typer.echo("  ".join(f"{cell!s:{mark}{width}}" for cell, mark, width in cells).rstrip())


def print_note(sentence: str) -> None:
    """Print a sentence on stderr, apart from the result; nothing if stderr is not a terminal."""
    if _is_terminal():
        typer.echo(printable(sentence), err=True)


@contextmanager
def resumable(path: Path, how: str) -> Iterator[None]:
    """Raise `typer.Abort` with the text `how` when a command that can be resumed is interrupted.

    `path` is its saved state; it exists once there is something to resume from.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if not path.exists():
            raise
        raise typer.Abort(how) from stop


@contextmanager
def progress_line() -> Iterator[Progress]:
    """Yield a `Progress` that draws one line on stderr and removes it at the end.

    It draws nothing if stderr is not a terminal.
    """
    if not _is_terminal():
        yield no_progress
        return
    last_drawn = -math.inf
    time_left = TimeLeft()

    def draw(fraction: float, message: str) -> None:
        nonlocal last_drawn
        if time.monotonic() - last_drawn < _REDRAW_SECONDS:
            return
        last_drawn = time.monotonic()
        filled = round(_BAR_WIDTH * min(max(fraction, 0.0), 1.0))
        bar = "━" * filled + " " * (_BAR_WIDTH - filled)
        text = f"{fraction:4.0%}  {printable(message)}{time_left.text(fraction)}"
        sys.stderr.write(f"\r\x1b[K{bar} {text}")
        sys.stderr.flush()

    try:
        yield draw
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _escaped(text: str) -> str:
    """Return JSON text with the escapes of JSON in place of control characters."""
    return "".join(each if printable(each) == each else f"\\u{ord(each):04x}" for each in text)


def _is_terminal() -> bool:
    return sys.stderr.isatty()


def _to_json(value: Any) -> Any:
    """Convert mappings, sequences, NumPy arrays and scalars to the types of JSON."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
