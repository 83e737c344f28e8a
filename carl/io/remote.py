"""Addresses of cubes on the network. They are read only if a user gives one."""

from __future__ import annotations

import os
import re

_ADDRESS = re.compile(r"(https?|s3|gs|gcs|az|abfs):/+(.+)", re.DOTALL)
"""An address; in a `Path` its two slashes have become one."""
_PACKAGES = {
    "http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs",
    "az": "adlfs", "abfs": "adlfs",
}  # fmt: skip
"""Packages that fsspec needs for each protocol."""


def remote_address(path: str | os.PathLike[str]) -> str | None:
    """Return the address that a text or path is, as ``https://host/scene.zarr``; else None."""
    match = _ADDRESS.fullmatch(os.fspath(path).replace(os.sep, "/"))
    return f"{match[1]}://{match[2]}" if match else None


def package_for(address: str) -> str:
    """Return the name of the package that fsspec needs to read an address."""
    return _PACKAGES[address.partition(":")[0]]
