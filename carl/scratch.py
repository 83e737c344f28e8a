"""Scratch space on disk for intermediate results that are too large for memory."""

from __future__ import annotations

import shutil
from errno import ENOSPC
from math import prod
from pathlib import Path
from weakref import finalize

import numpy as np

from carl.arrays import Float32Array
from carl.errors import OutputError
from carl.files import claim_folder, release_folder
from carl.user_folders import scratch_folder


class ScratchFolder:
    """A folder for temporary files, removed together with this object.

    A process that is killed leaves its folder behind; the next `ScratchFolder` removes it, see
    `carl.files.claim_folder`.

    Args:
        parent: where the folder is made; by default beside the cached features.

    Attributes:
        path: of the folder.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or scratch_folder()
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path, lock = claim_folder(parent, mode=0o700)
        except OSError as error:
            raise _cannot_write(parent, error) from error
        finalize(self, release_folder, self.path, lock)


class DiskArray:
    """A float32 array in a raw file, written rectangle by rectangle and then memory-mapped.

    Rectangles are written through the file, not through a memory map: on a full disk, writing
    through a map ends the process. The file is made; its shape is (height, width, depth).

    Raises:
        OutputError: the disk has less free space than the array needs.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._path = path
        self.shape = shape
        needed, free = 4 * prod(shape), shutil.disk_usage(path.parent).free
        if needed > free:
            raise OutputError(
                f"{path.parent} has {free / 1e9:.1f} GB of free space and the features need "
                f"{needed / 1e9:.1f} GB: free some space, or set CARL_HOME to a larger disk."
            )
        path.touch()

    def write(self, rows: slice, columns: slice, values: Float32Array) -> None:
        """Write (rows, columns, depth) values; both slices have a start and a stop.

        Raises:
            OutputError: the disk is full, or cannot be written.
        """
        _, width, depth = self.shape
        try:
            with self._path.open("r+b") as file:
                for row, of_row in zip(range(rows.start, rows.stop), values, strict=True):
                    file.seek(4 * depth * (row * width + columns.start))
                    file.write(np.ascontiguousarray(of_row, np.float32).data)
        except OSError as error:
            raise _cannot_write(self._path.parent, error) from error

    def mapped(self) -> np.memmap[tuple[int, int, int], np.dtype[np.float32]]:
        """Return the array, memory-mapped for reading; all of it must have been written."""
        return np.memmap(self._path, np.float32, mode="r", shape=self.shape)


def _cannot_write(folder: Path, error: OSError) -> OutputError:
    reason = "the disk is full" if error.errno == ENOSPC else error.strerror or str(error)
    return OutputError(
        f"{folder} cannot be written ({reason}): free some space, or set CARL_HOME to another disk."
    )
