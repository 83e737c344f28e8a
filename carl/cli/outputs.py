"""Where a command writes, checked before the work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from carl.errors import OutputError


def check_output(path: Path, suffix: str, inputs: Iterable[Path] = ()) -> None:
    """See that a file can be written, before long work for it begins.

    Args:
        path: the file to write; overwritten if it is there.
        suffix: what its name has to end in.
        inputs: files that must not be overwritten.

    Raises:
        OutputError: another suffix, a folder in its place, an input of its own, or no permission.
    """
    if path.suffix.lower() != suffix:
        raise OutputError(f"{path} does not end in {suffix}: give the output a name that does.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file.")
    if path.exists() and any(source.exists() and path.samefile(source) for source in inputs):
        raise OutputError(f"{path} is an input: give the output another name.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """See that files can be written to a folder that exists or can be made.

    Raises:
        OutputError: it is a file, or there is no permission.
    """
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise OutputError(f"{nearest} is a file: give a folder to write to.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest} cannot be written (no permission): give another folder.")
