"""Files of our own: what the package ships, and writing so that nothing is ever half-written."""

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
    """Path of a shipped file, e.g. ``resource_path("weights", "carl-nano.safetensors")``.

    Installed, the resources lie inside the package; in a checkout, beside it.
    """
    installed = _PACKAGE / "resources"
    return (installed if installed.is_dir() else _PACKAGE.parent / "resources").joinpath(*parts)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` only if all went well.

    Missing parent folders are made. The temporary name keeps the suffix of `path`, which tells many
    writers the format.

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
    """Give a temporary folder; its files move into `folder` together, and only if all went well.

    Missing folders are made, and removed again if nothing comes into them.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    target = Path(folder)
    made = [path for path in (target, *target.parents) if not path.exists()]
    staging = target / f".{uuid4().hex[:8]}"
    try:
        staging.mkdir(parents=True)
        yield staging
        files = sorted(staging.iterdir())
        for path in files:
            if (target / path.name).is_dir():
                raise IsADirectoryError(EISDIR, f"{path.name} is a folder there")
        for path in files:
            os.replace(path, target / path.name)
    except OSError as error:
        raise OutputError(_cannot_write(target, error)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in made:
            with suppress(OSError):  # it holds something now
                path.rmdir()


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{path} cannot be written ({reason}): choose another folder or free some space."
