"""Paths of files shipped with the package, and atomic writing of files and folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR, ENAMETOOLONG
from pathlib import Path
from uuid import uuid4

from carl.errors import OutputError

_PACKAGE = Path(__file__).parent


def resource_path(*parts: str) -> Path:
    """Return the path of a shipped file, e.g. ``resource_path("cameras", "tivita.csv")``.

    The resources are inside the package when it is installed, and beside it in a checkout.
    """
    installed = _PACKAGE / "resources"
    return (installed if installed.is_dir() else _PACKAGE.parent / "resources").joinpath(*parts)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces `path` unless an exception is raised.

    Creates missing parent folders. The temporary name has the suffix of `path`, from which many
    writers infer the format.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    target = Path(path)
    # Cut so that it is shorter than 255 bytes, the limit of file systems, for any characters.
    temporary = target.with_name(f".{target.stem[:32]}-{uuid4().hex[:8]}{target.suffix[:20]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder; its files move into `folder` unless an exception is raised.

    Creates missing folders, and removes them again if they stay empty.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    target = Path(folder)
    created = [path for path in (target, *target.parents) if not path.exists()]
    staging = target / f".{uuid4().hex[:8]}"
    try:
        staging.mkdir(parents=True)
        yield staging
        files = sorted(staging.iterdir())
        for path in files:
            if (target / path.name).is_dir():
                raise IsADirectoryError(EISDIR, f"{path.name} is a folder")
        for path in files:
            os.replace(path, target / path.name)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in created:
            with suppress(OSError):  # not empty
                path.rmdir()


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error to raise when the system cannot write `path`."""
    if error.errno == ENAMETOOLONG:
        name = Path(os.fsdecode(error.filename2 or error.filename or path)).name
        return OutputError(f"The name {name} is too long for this disk: choose a shorter one.")
    reason = error.strerror or str(error)
    return OutputError(
        f"{path} cannot be written ({reason}): choose another folder or free some space."
    )
