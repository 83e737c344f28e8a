"""Paths of files shipped with the package, and atomic writing of files and folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EISDIR
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
    temporary = target.with_name(f".{target.stem[:64]}-{uuid4().hex[:8]}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(_cannot_write(target, error)) from error
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
        raise OutputError(_cannot_write(target, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in created:
            with suppress(OSError):  # not empty
                path.rmdir()


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{path} cannot be written ({reason}): choose another folder or free some space."
