"""Paths of shipped files; small text files; atomic writing; folders that outlive no process."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, EISDIR, ENAMETOOLONG, ENOSYS, ENOTDIR, ENOTSUP
from pathlib import Path
from stat import S_ISREG
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from carl.errors import OutputError

_PACKAGE = Path(__file__).parent
STAGING_PREFIX = ".carl-"
"""Start of the names of folders in which files are written before they are moved to their place."""
_LOCK = "in-use.lock"
"""Name of the lock file in a claimed folder."""
_NO_SYNC = (EINVAL, ENOSYS, ENOTSUP)
"""Error numbers of file systems that cannot write a file to the disk on request."""
_MAX_TEXT_BYTES = 8 << 20
"""Largest size of a text file that is read: enough for a table of 65535 classes. Parsed text takes
about 30 times its size in memory."""


def resource_path(*parts: str) -> Path:
    """Return the path of a shipped file, e.g. ``resource_path("cameras", "tivita.csv")``.

    The resources are inside the package when it is installed, and beside it in a checkout.
    """
    installed = _PACKAGE / "resources"
    return (installed if installed.is_dir() else _PACKAGE.parent / "resources").joinpath(*parts)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Check that a path is a regular file: opening a named pipe would wait for ever.

    Raises:
        OSError: it is something else, or does not exist.
    """
    if not S_ISREG(os.stat(path).st_mode):
        raise OSError(EINVAL, "not a regular file")


def read_text(path: str | os.PathLike[str], max_bytes: int = _MAX_TEXT_BYTES) -> str:
    """Read a small UTF-8 text file, with or without a byte-order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than `max_bytes`, or not text in UTF-8.
    """
    check_regular(path)
    with open(path, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes / 1e6:.2g} MB")
    return content.decode("utf-8-sig")


def read_json(path: str | os.PathLike[str], max_bytes: int = _MAX_TEXT_BYTES) -> Any:
    """Read a JSON file of limited size.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large or not JSON, is nested too deeply, or has text that is not
            Unicode.
    """
    try:
        content = json.loads(read_text(path, max_bytes))
        # An escape such as "\\ud800" alone is no character, and could not be written again.
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return content


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` unless an exception is raised.

    Creates missing parent folders. The temporary file has the name of `path`, from whose suffix
    many writers infer the format; it is in a folder of its own beside `path`.

    Args:
        path: of the file.
        sync: write the file to the disk before it replaces `path`, so that a loss of power leaves
            the old file or the new one. False for files that can be computed again.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _staging_folder(target.parent) as staging:
            temporary = staging / target.name
            yield temporary
            if sync:
                sync_file(temporary)
            os.replace(temporary, target)
            if sync:
                sync_folder(target.parent)
    except OSError as error:
        raise output_error(target, error) from error


@contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder; what is in it moves into `folder` unless an exception is raised.

    The files are written to the disk before the first one is moved. A folder in it, as the Zarr
    format needs it, replaces a folder of its name as a whole. Creates missing folders, and removes
    them again if they stay empty.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """
    target = Path(folder)
    created = [path for path in (target, *target.parents) if not path.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _staging_folder(target) as staging:
            results = staging / "results"
            results.mkdir()
            yield results
            replaced = staging / "replaced"
            replaced.mkdir()
            entries = sorted(results.iterdir())
            for path in entries:
                if (target / path.name).is_dir() and not path.is_dir():
                    raise IsADirectoryError(EISDIR, f"{path.name} is a folder")
                if (target / path.name).is_file() and path.is_dir():
                    raise NotADirectoryError(ENOTDIR, f"{path.name} is a file")
            for path in sorted(results.rglob("*")):
                if path.is_file():
                    sync_file(path)
            for path in entries:
                if (target / path.name).is_dir():
                    os.replace(target / path.name, replaced / path.name)
                os.replace(path, target / path.name)
            sync_folder(target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        for path in created:
            with suppress(OSError):  # not empty
                path.rmdir()


def claim_folder(parent: Path, prefix: str = "", *, mode: int = 0o777) -> tuple[Path, FileLock]:
    """Make a folder that belongs to this process, and remove those of processes that were killed.

    A folder is in use while its lock file is locked; the system releases the lock when the process
    ends. On a file system without locks no folder is removed.

    Args:
        parent: where the folder is made; it exists.
        prefix: start of the names of such folders in `parent`.
        mode: permissions of the folder.

    Returns:
        its path, and the lock; `release_folder` takes both.

    Raises:
        OSError: the folder cannot be made.
    """
    remove_abandoned(parent, prefix)
    while True:
        folder = parent / f"{prefix}{uuid4().hex[:12]}"
        folder.mkdir(mode=mode)
        lock = FileLock(folder / _LOCK, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            continue  # another process removes the folder, which was not locked yet
        except (OSError, NotImplementedError):
            if folder.is_dir():
                return folder, lock  # there are no locks on this file system
            continue
        if (folder / _LOCK).exists():
            return folder, lock
        lock.release()


def remove_abandoned(parent: Path, prefix: str = "") -> None:
    """Remove the folders that processes claimed in `parent` and that were killed since."""
    pattern = re.compile(re.escape(prefix) + "[0-9a-f]{12}")
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove_if_abandoned(Path(entry.path))


def release_folder(folder: Path, lock: FileLock) -> None:
    """Remove a folder that `claim_folder` made."""
    if sys.platform == "win32":
        lock.release()  # an open file cannot be removed there
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def sync_file(path: Path) -> None:
    """Write a file from the memory of the system to the disk, where the file system can.

    Raises:
        OSError: the disk is full or damaged.
    """
    number = os.open(path, os.O_RDWR)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(number)


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, where the system can: Windows does so by itself."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error to raise when the system cannot write `path`."""
    if error.errno == ENAMETOOLONG:
        name = Path(os.fsdecode(error.filename2 or error.filename or path)).name
        return OutputError(f"The name {name} is too long for this disk: choose a shorter one.")
    reason = error.strerror or str(error)
    return OutputError(
        f"{path} cannot be written ({reason}): choose another folder or free some space."
    )


@contextmanager
def _staging_folder(parent: Path) -> Iterator[Path]:
    folder, lock = claim_folder(parent, STAGING_PREFIX)
    try:
        yield folder
    finally:
        release_folder(folder, lock)


def _remove_if_abandoned(folder: Path) -> None:
    lock_file = folder / _LOCK
    with suppress(Timeout, OSError, NotImplementedError):
        if not lock_file.exists():
            folder.rmdir()  # its process was killed before it wrote anything
            return
        lock = FileLock(lock_file, timeout=0, thread_local=False)
        lock.acquire()
        release_folder(folder, lock)
