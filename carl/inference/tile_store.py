"""Stores of tiles, in memory or in a folder from which an interrupted computation resumes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from filelock import FileLock, Timeout

from carl.arrays import Float32Array
from carl.errors import OutputError
from carl.files import atomic_write
from carl.inference.npz import write_npy

_MANIFEST = "manifest.json"
_LOCK = "in-use.lock"
_FORMAT = 2
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
    is used if it was computed with the same settings, else removed.

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
            write_npy(file, values.shape, [values])

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
        return _MANIFEST in entries or entries <= {_LOCK}

    def _load(self) -> None:
        """Load the manifest, and remove what was made with other settings or is damaged."""
        try:
            manifest = json.loads((self.folder / _MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            manifest = {}
        stored = manifest.get("settings") if isinstance(manifest, dict) else None
        if stored == self._settings:
            self._values = manifest["values"]
            for path in self.folder.glob("*.npy"):
                if not _is_complete(path):  # after a crash of the system
                    path.unlink()
            return
        if isinstance(stored, dict):
            self.changed = [name for name, now in self._settings.items() if stored.get(name) != now]
        for path in [*self.folder.glob("*.npy"), *self.folder.glob(f"*{_MANIFEST}")]:
            path.unlink()
        self._write_manifest()

    def _write_manifest(self) -> None:
        content = {"settings": self._settings, "values": self._values}
        with self._writing(self.folder / _MANIFEST) as path:
            path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @contextmanager
    def _writing(self, path: Path) -> Iterator[Path]:
        try:
            with atomic_write(path) as temporary:
                yield temporary
        except OutputError as error:
            raise OutputError(
                f"{self.folder} cannot be written ({_reason(error.__cause__)}): free some space "
                "and start the same again, it resumes where it stopped."
            ) from error


def _is_complete(path: Path) -> bool:
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return not path.name.startswith(".")  # hidden while it is being written


def _reason(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or str(error)
