"""White and dark references that cameras store beside a cube.

======== =================================================== =====================================
camera   cube                                                references
======== =================================================== =====================================
Specim   ``NAME/capture/NAME.raw``                           ``WHITEREF_NAME.raw``,
                                                             ``DARKREF_NAME.raw`` in that folder
Headwall ``raw_0``, or ``raw_0``, ``raw_2000``, … of a       ``whiteReference``, ``darkReference``
         flight                                              in that folder
======== =================================================== =====================================

All of them are ENVI files with a header. Reflectance that the software of the camera has computed
(``REFLECTANCE_NAME``, ``raw_0_rf``) has no references, as it must not be divided by them again.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_MAX_FILES = 10_000
"""Most names in a folder that are searched."""
_COMPUTED = re.compile(r"^REFLECTANCE_|_r[df]$", re.IGNORECASE)
"""Names of cubes that the software of a camera has computed: reflectance, radiance."""
_REFERENCE = re.compile(r"^(WHITE|DARK)(?:REF_(.+)|Reference)$", re.IGNORECASE)
"""Name of a reference, with the name of its cube for Specim."""


@dataclass(frozen=True)
class References:
    """Headers of the references of a cube; None for missing ones."""

    white: Path | None = None
    dark: Path | None = None


def find_references(path: Path) -> References:
    """Return the white and the dark reference beside a cube.

    Args:
        path: the header or the data file of the cube.
    """
    name = path.stem if path.suffix.lower() in (".hdr", ".raw", ".bin", ".dat") else path.name
    if _COMPUTED.search(name) or _REFERENCE.match(name):
        return References()
    found: dict[str, Path] = {}
    for header in headers_in(path.parent):
        match = _REFERENCE.match(header.stem)
        if match and (match[2] is None or match[2].lower() == name.lower()):
            kind = match[1].lower()
            if match[2] or kind not in found:  # one that names the cube is preferred
                found[kind] = header
    return References(found.get("white"), found.get("dark"))


def is_reference(header: Path) -> bool:
    """Return whether a header is that of a reference, by its name."""
    return _REFERENCE.match(header.stem) is not None


def is_computed(header: Path) -> bool:
    """Return whether a header is that of a cube computed from another one, by its name."""
    return _COMPUTED.search(header.stem) is not None


def headers_in(folder: Path) -> list[Path]:
    """Return the ENVI headers in a folder, by name; none if it cannot be listed or is too large."""
    headers = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number == _MAX_FILES:
                    return []
                if entry.name.lower().endswith(".hdr") and entry.is_file():
                    headers.append(folder / entry.name)
    except OSError:
        return []
    return sorted(headers)
