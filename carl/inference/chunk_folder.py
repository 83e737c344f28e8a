"""Pieces of a computation in a folder, so that it can be interrupted at any moment and go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from carl.errors import OutputError
from carl.files import atomic_write
from carl.inference.npz import write_npy
from carl.inference.tile_grid import FloatMap

_MANIFEST = "manifest.json"
_LOCK = "in-use.lock"
_FORMAT = 1


class ChunkFolder:
    """Pieces, one ``.npy`` file each, and facts in a ``manifest.json``; each is whole or not there.

    A context manager that keeps other processes out of the folder. What an earlier process left
    there is taken up if it was made under the same settings, else removed.

    Args:
        folder: made if need be.
        settings: what the pieces depend on, by a name for people: "cube", "model", ….

    Attributes:
        folder: where it is.
        changed: settings that differ from those of an earlier process, whose work is removed.

    Raises:
        OutputError: the folder holds something else, is in use by another process or cannot be
            written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.changed: list[str] = []
        self._settings = {"format": str(_FORMAT), **settings}
        self._facts: dict[str, Any] = {}
        self._lock = FileLock(folder / _LOCK, timeout=0)

    def __enter__(self) -> Self:
        try:
            if self.folder.exists() and not self._is_ours():
                raise OutputError(f"{self.folder} is in the way: move it, or choose another name.")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self._take_up()
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def __contains__(self, name: object) -> bool:
        return self._path(str(name)).exists()

    def __getitem__(self, name: str) -> FloatMap:
        values: FloatMap = np.load(self._path(name), mmap_mode="r", allow_pickle=False)
        return values

    def __setitem__(self, name: str, values: FloatMap) -> None:
        with self._writing(self._path(name)) as path, path.open("wb") as file:
            write_npy(file, values.shape, [values])

    def recall(self, name: str, compute: Callable[[], Any]) -> Any:
        """A fact from the manifest; computed and kept there if it is new."""
        if name not in self._facts:
            self._facts[name] = compute()
            self._write_manifest()
        return self._facts[name]

    @property
    def is_empty(self) -> bool:
        """Whether neither a piece nor a fact is there."""
        return not self._facts and not any(self.folder.glob("*.npy"))

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def remove(self) -> None:
        """Remove the folder and all it holds."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _is_ours(self) -> bool:
        entries = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else {""}
        return _MANIFEST in entries or entries <= {_LOCK}

    def _take_up(self) -> None:
        """Keep what fits the settings, and drop pieces that a crash of the system left damaged."""
        found = _read_manifest(self.folder / _MANIFEST)
        stored = found.get("settings")
        if stored == self._settings:
            self._facts = found["facts"]
            for path in self.folder.glob("*.npy"):
                if not _is_whole(path):
                    path.unlink()
            return
        if isinstance(stored, dict):
            self.changed = [name for name, now in self._settings.items() if stored.get(name) != now]
        for path in [*self.folder.glob("*.npy"), *self.folder.glob(f"*{_MANIFEST}")]:
            path.unlink()
        self._write_manifest()

    def _write_manifest(self) -> None:
        content = {"settings": self._settings, "facts": self._facts}
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
                "and start the same again, it goes on where it stopped."
            ) from error


def _read_manifest(path: Path) -> dict[str, Any]:
    """What the manifest says; nothing if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_whole(path: Path) -> bool:
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return not path.name.startswith(".")  # else it was still being written


def _reason(error: BaseException | None) -> str:
    return getattr(error, "strerror", None) or str(error)
