"""What a command shows: facts, tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from carl.progress import Progress, TimeLeft, no_progress

_NUMBERS = re.compile(r"\[[-+.\deaflnrstu,\s]*\]")  # numbers, true, false, null
_BAR_WIDTH = 24
_SECONDS_BETWEEN = 0.1


def show_json(value: Any) -> None:
    """Print a result as JSON, each list of numbers on one line. What is not finite becomes null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    typer.echo(_NUMBERS.sub(lambda found: " ".join(found[0].split()), text))


def show_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one pair per line, values aligned."""
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")


def show_note(sentence: str) -> None:
    """Print something worth knowing on stderr, where it does not mix with results."""
    typer.echo(sentence, err=True)


def show_table(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; columns of numbers are aligned to the right."""
    cells = [list(heading), *([str(cell) for cell in row] for row in rows)]
    numeric = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in _range(heading)]
    widths = [max(len(row[i]) for row in cells) for i in _range(heading)]
    for row in cells:
        line = (
            f"{row[i]:>{widths[i]}}" if numeric[i] else f"{row[i]:<{widths[i]}}"
            for i in _range(row)
        )
        typer.echo("  ".join(line).rstrip())


@contextmanager
def kept(path: Path, how: str) -> Iterator[None]:
    """Tell who interrupts a command how to go on with it.

    Args:
        path: where what is finished is kept, once anything is.
        how: what to tell.

    Raises:
        Abort: interrupted, with something to go on from.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if not path.exists():
            raise
        raise typer.Abort(how) from stop


@contextmanager
def progress_line() -> Iterator[Progress]:
    """A `Progress` that draws one line on stderr, gone at the end; silent if not a terminal."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    last = -math.inf
    time_left = TimeLeft()

    def draw(fraction: float, message: str) -> None:
        nonlocal last
        if time.monotonic() - last < _SECONDS_BETWEEN:
            return
        last = time.monotonic()
        filled = round(_BAR_WIDTH * min(max(fraction, 0.0), 1.0))
        bar = "━" * filled + " " * (_BAR_WIDTH - filled)
        sys.stderr.write(f"\r\x1b[K{bar} {fraction:4.0%}  {message}{time_left.note(fraction)}")
        sys.stderr.flush()

    try:
        yield draw
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _range(items: Sequence[object]) -> range:
    return range(len(items))


def _plain(value: Any) -> Any:
    """What JSON knows, from mappings, sequences, NumPy arrays and scalars."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
