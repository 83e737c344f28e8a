"""Folders that the software of cameras writes: Specim, Headwall, Resonon, Cubert, and the like.

The cube is an ENVI file in the folder, or in ``capture`` or ``results`` below it (Specim). If the
software has computed reflectance, that is opened; ``variable="raw"`` opens the numbers of the
camera, with their references (`carl.io.companions`). The files ``raw_0``, ``raw_2000``, … of a
flight (Headwall) are consecutive lines of one cube.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io import envi
from carl.io.companions import headers_in, is_computed, is_reference
from carl.io.reader import FileContents, Reader
from carl.lazy_array import ArraySource, Block, LazyArray

_SUBFOLDERS = ("", "capture", "results")
_PART = re.compile(r"raw_(\d+)", re.IGNORECASE)
"""Name of a part of a flight, with the number of its first line."""
_MAX_PARTS = 1000
"""Most parts of a flight: each stays open."""
_MAX_LISTED = 8
"""Number of cubes that an error message lists."""


def is_capture(path: Path) -> bool:
    """Return whether a folder holds an ENVI cube that is no reference."""
    return any(envi.sniff(header) for header in _cubes(path))


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a folder.

    Args:
        path: the folder.
        variable: "reflectance" or "raw", if the folder holds both; or the name of a header in it.

    Raises:
        CubeError: the folder holds several cubes and none is chosen, or parts of a flight differ.
    """
    headers = _cubes(path)
    computed = [header for header in headers if is_computed(header)]
    recorded = [header for header in headers if not is_computed(header)]
    named = [header for header in headers if variable in (header.name, header.stem)]
    if named:
        return envi.read(named[0])
    if variable not in (None, "raw", "reflectance"):
        raise CubeError(f"{path.name} holds no cube '{variable}': {_listed(headers)}.")
    if computed and variable != "raw":
        contents = envi.read(_only(computed, path))
        note = f"Opened the reflectance in {computed[0].name}, which the software of the camera "
        note += "computed; variable='raw' (or --variable raw) opens the recorded numbers."
        return replace(contents, notes=(*contents.notes, note)) if recorded else contents
    parts = [header for header in recorded if _PART.fullmatch(header.stem)]
    if len(parts) > 1 and len(parts) == len(recorded):
        return _joined(sorted(parts, key=_first_line), path)
    return envi.read(_only(recorded, path))


def main_file(path: Path) -> Path:
    """Return the header of the cube that opens by default; the folder itself if that is unclear."""
    headers = _cubes(path)
    chosen = [header for header in headers if is_computed(header)] or headers
    return chosen[0] if len(chosen) == 1 else path


def _cubes(path: Path) -> list[Path]:
    """Return the headers in a folder without those of references."""
    found = [header for folder in _SUBFOLDERS for header in headers_in(path / folder)]
    return [header for header in found if not is_reference(header)]


def _only(headers: Sequence[Path], path: Path) -> Path:
    if len(headers) != 1:
        raise CubeError(
            f"{path.name} holds {_listed(headers)}: open the file of one of them."
            if headers
            else f"{path.name} holds no such cube: leave the variable out."
        )
    return headers[0]


def _listed(headers: Sequence[Path]) -> str:
    names = ", ".join(header.name for header in headers[:_MAX_LISTED])
    more = len(headers) - _MAX_LISTED
    return f"several cubes, {names}" + (f" and {more} more" if more > 0 else "")


def _first_line(header: Path) -> int:
    match = _PART.fullmatch(header.stem)
    return int(match[1]) if match else 0


def _joined(headers: Sequence[Path], path: Path) -> FileContents:
    """Return the parts of a flight as one cube."""
    if len(headers) > _MAX_PARTS:
        raise CubeError(f"{path.name} has more than {_MAX_PARTS} parts: join them first.")
    parts = [envi.read(header) for header in headers]
    sizes = {(part.data.shape[1:], str(part.data.dtype)) for part in parts}
    if len(sizes) != 1:
        raise CubeError(
            f"{path.name} holds parts of a flight that differ in width, bands or type: open the "
            "file of one of them."
        )
    note = f"Joined the lines of {len(parts)} files, {headers[0].stem} to {headers[-1].stem}."
    data = _JoinedLines([part.data for part in parts])
    return replace(parts[0], data=data, notes=(*parts[0].notes, note))


class _JoinedLines(LazyArray):
    """Cubes of the same width and bands, one below the other."""

    def __init__(self, parts: Sequence[ArraySource]) -> None:
        self._parts = list(parts)
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        super().__init__((int(self._starts[-1]), *parts[0].shape[1:]), parts[0].dtype)

    def _read_block(self, block: Block) -> NDArray[Any]:
        rows, *others = block
        blocks = []
        for part, start in zip(self._parts, self._starts[:-1].tolist(), strict=True):
            # The first line in the part that is a whole number of steps after the first one.
            first = rows.start - start if rows.start >= start else (rows.start - start) % rows.step
            inside = slice(first, min(rows.stop - start, part.shape[0]), rows.step)
            if inside.start < inside.stop:
                blocks.append(np.asarray(part[(inside, *others)]))
        return np.concatenate(blocks)


READER = Reader("ENVI", (), read, sniff_folder=is_capture, main_file=main_file)
