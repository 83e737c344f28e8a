"""Files of our own: what the package ships, and writing so that nothing is ever half-written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def _cannot_write(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{path} cannot be written ({reason}): choose another folder or free some space."
