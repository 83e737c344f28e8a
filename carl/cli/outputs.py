"""Where a command writes: checked before the work, filled only when all of it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

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


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a temporary folder; its files move to `folder` only if all went well.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    staging = folder / f".carl-{uuid4().hex[:8]}"
    try:
        staging.mkdir(parents=True)
        yield staging
        for path in sorted(staging.iterdir()):
            os.replace(path, folder / path.name)
        made = []
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{folder} cannot be written ({reason}): choose another folder or free some space."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in made:  # folders of ours that stayed empty, innermost first
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
