"""Stores of tiles, in memory or in a folder from which an interrupted computation resumes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self
from zlib import crc32

import numpy as np
from filelock import FileLock, Timeout

from carl.arrays import Float32Array
from carl.errors import OutputError
from carl.inference.npz import is_checked_npy, write_checked_npy

_MANIFEST = "manifest.json"
_LOCK = "in-use.lock"
_UNFINISHED = ".unfinished-"
"""Start of the names of files that are being written."""
_FORMAT = 3
"""Version of the content of the folder; a folder of another version is started over."""


class TileStore(Protocol):
    """Named tiles, and intermediate values that all tiles depend on."""

    def __contains__(self, name: object) -> bool:
        """Whether a tile is stored completely."""

    def __getitem__(self, name: str) -> Float32Array:
        """Return a tile (t, u, D)."""

    def __setitem__(self, name: str, values: Float32Array) -> None:
        """Store a tile."""

    def get_or_compute(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a value that JSON can represent: the stored one, else compute and store it."""


class MemoryTiles(dict[str, Float32Array]):
    """Tiles in memory."""

    def get_or_compute(self, name: str, compute: Callable[[], Any]) -> Any:
        """Compute a value; it is used once in the lifetime of the store."""
        return compute()


class TileFolder:
    """Tiles as ``.npy`` files, and values in a ``manifest.json``; each complete or absent.

    A context manager that locks the folder against other processes. What an earlier process stored
    is used if it was computed with the same settings and its checksums match, else removed.

    Args:
        folder: created if it does not exist.
        settings: what the tiles depend on, by a name for users: "cube", "model", ….

    Attributes:
        folder: its path.
        changed: names of the settings that differ from those of an earlier process.

    Raises:
        OutputError: the folder holds other files, is in use by another process or cannot be
            written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.changed: list[str] = []
        self._settings = {"format": str(_FORMAT), **settings}
        self._values: dict[str, Any] = {}
        self._lock = FileLock(folder / _LOCK, timeout=0)

    def __enter__(self) -> Self:
        try:
            if self.folder.exists() and not self._is_tile_folder():
                raise OutputError(
                    f"{self.folder} exists and holds other files: move it, or choose another name "
                    "for the output."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._load()
        except Timeout as error:
            raise OutputError(
                f"{self.folder} is in use by another run: wait for that one, or choose another "
                "name for the output."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written ({_reason(error)}): choose another folder or "
                "free some space."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __contains__(self, name: object) -> bool:
        return self._path(str(name)).exists()

    def __getitem__(self, name: str) -> Float32Array:
        values: Float32Array = np.load(self._path(name), mmap_mode="r", allow_pickle=False)
        return values

    def __setitem__(self, name: str, values: Float32Array) -> None:
        with self._writing(self._path(name)) as path, path.open("wb") as file:
            write_checked_npy(file, values)

    def get_or_compute(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a value of the manifest; compute and store it if it is new."""
        if name not in self._values:
            self._values[name] = compute()
            self._write_manifest()
        return self._values[name]

    @property
    def is_empty(self) -> bool:
        """Whether neither a tile nor a value is stored."""
        return not self._values and not any(self.folder.glob("*.npy"))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def remove(self) -> None:
        """Remove the folder with its content."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _is_tile_folder(self) -> bool:
        entries = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else {""}
        return _MANIFEST in entries or entries <= {_LOCK, _UNFINISHED + _MANIFEST}

    def _load(self) -> None:
        """Load the manifest, and remove what was made with other settings or is damaged."""
        for path in self.folder.glob(f"{_UNFINISHED}*"):  # of a process that was killed
            path.unlink()
        manifest = _read_manifest(self.folder / _MANIFEST)
        stored = manifest["settings"]
        if stored == self._settings:
            self._values = manifest["values"]
            for path in self.folder.glob("*.npy"):
                if not is_checked_npy(path):
                    path.unlink()
            return
        self.changed = [
            name for name, now in self._settings.items() if stored and stored.get(name) != now
        ]
        for path in self.folder.glob("*.npy"):
            path.unlink()
        self._write_manifest()

    def _write_manifest(self) -> None:
        content = {"settings": self._settings, "values": self._values}
        with self._writing(self.folder / _MANIFEST) as path:
            text = json.dumps(content | {"crc32": _checksum(content)}, indent=1)
            path.write_text(text, encoding="utf-8")

    @contextmanager
    def _writing(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path that replaces `path`; no other process writes to the folder.

        The files are not written to the disk at once: those that a loss of power damages are
        computed again.
        """
        temporary = path.with_name(_UNFINISHED + path.name)
        try:
            yield temporary
            os.replace(temporary, path)
        except OSError as error:
            raise OutputError(
                f"{self.folder} cannot be written ({_reason(error)}): free some space and start "
                "the same again, it resumes where it stopped."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return settings and values; both are empty if the file is missing or damaged."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        content = {name: dict(manifest[name]) for name in ("settings", "values")}
        # The version of the format is compared with the other settings.
        if content["settings"]["format"] != str(_FORMAT) or manifest["crc32"] == _checksum(content):
            return content
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return {"settings": {}, "values": {}}


def _checksum(content: dict[str, Any]) -> str:
    return f"{crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def _reason(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or str(error)
