"""Stores of Zarr: folders that nothing in them leads out of, and addresses on the network."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from zarr.abc.store import ByteRequest, RangeByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore

from carl.errors import CubeError
from carl.files import check_regular
from carl.io.remote import package_for, remote_address
from carl.io.size_limits import check_decoded_size

METADATA_NAMES = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
"""Names of the files that describe an array or a group, of format 3 and of format 2."""
_MAX_METADATA_BYTES = 8 << 20
"""Largest size of such a file: parsed JSON takes about 30 times its size in memory."""
_MAX_NAMES = 10_000
"""Most names in a folder of a group."""


class FolderStore(LocalStore):
    """A folder that is read only, without links that lead out of it.

    Raises:
        CubeError: when it is read: a link leads out of the folder, a file is none, or is larger
            than it can be.
    """

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=True)
        self._real = os.path.realpath(self.root)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the content of a file, or a part of it; None if there is no such file."""
        path = self.root / key
        try:
            n_bytes = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            if not self.root.is_dir():
                raise CubeError(
                    f"{self.root.name} was removed while it was being read: open it again."
                ) from None
            return None
        self._check(path, n_bytes, byte_range)
        return await super().get(key, prototype, byte_range)

    def _check(self, path: Path, n_bytes: int, byte_range: ByteRequest | None) -> None:
        if not PurePath(os.path.realpath(path)).is_relative_to(self._real):
            raise CubeError(
                f"{path.name} in {self.root.name} is a link that leads out of the folder, which is "
                "not read: copy the file into the folder."
            )
        if path.is_dir():
            return
        check_regular(path)
        if path.name in METADATA_NAMES and n_bytes > _MAX_METADATA_BYTES:
            raise CubeError(
                f"{path.name} in {self.root.name} has {n_bytes / 1e6:.0f} MB, more than the "
                f"{_MAX_METADATA_BYTES / 1e6:.0f} MB that a description may have: it is damaged."
            )
        if isinstance(byte_range, RangeByteRequest):
            n_bytes = min(n_bytes, byte_range.end - byte_range.start)
        check_decoded_size(self.root, n_bytes, n_bytes)

    async def list_dir(self, prefix: str) -> Any:
        """Yield the names in a folder of the store."""
        with os.scandir(self.root / prefix) as entries:
            names = [entry.name for entry in islice(entries, _MAX_NAMES + 1)]
        if len(names) > _MAX_NAMES:
            raise CubeError(
                f"{self.root.name} holds more than {_MAX_NAMES} files beside its arrays: it is "
                "damaged, or no Zarr folder."
            )
        for name in names:
            yield name


def open_store(path: Path) -> Store:
    """Return the store of a folder, or of an address on the network.

    Raises:
        CubeError: a package for the protocol of the address is missing.
    """
    address = remote_address(path)
    if address is None:
        return FolderStore(path)
    try:
        return FsspecStore.from_url(address, read_only=True)
    except ImportError as error:
        raise CubeError(
            f"{path.name} is on the network, which needs two more packages: pip install fsspec "
            f"{package_for(address)}."
        ) from error
