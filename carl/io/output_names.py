"""Names of output files: valid on every system, and different from each other in any case."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

from carl.errors import OutputError

_MAX_NAME_BYTES = 255
"""Longest name of a file on common file systems, in bytes of UTF-8."""
_NUMBER_BYTES = 5
"""Room for a number at the end of a stem, in bytes: "_9999"."""
_HASH_DIGITS = 8
"""Hexadecimal digits that keep shortened names different."""
_INVALID = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"/\\|?*]+')
"""Characters that are not allowed in file names on some system."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)\.", re.IGNORECASE)
"""Start of names that Windows reserves for devices: what follows the first dot does not matter."""


@dataclass(frozen=True)
class OutputNames:
    """Names of the files that are written for one cube.

    Attributes:
        stem: their common start.
        names: all of them.

    Examples:
        >>> from pathlib import Path
        >>> from carl.io.output_names import plan_outputs
        >>> paths = [Path("x.tif"), Path("x.hdr")]
        >>> for planned in plan_outputs(paths, lambda stem: [f"{stem}_labels.png"]):
        ...     print(planned.stem, planned.names)
        x_tif ('x_tif_labels.png',)
        x_hdr ('x_hdr_labels.png',)
    """

    stem: str
    names: tuple[str, ...]


def plan_outputs(
    cubes: Sequence[Path | str], names_of: Callable[[str], Iterable[str]], *, number: int = 1
) -> tuple[OutputNames, ...]:
    """Determine the names of all files that are written for some cubes; no file is accessed.

    The names start with the name of the cube's file without its suffix. Where that is the same for
    several cubes, as for x.tif and x.hdr, the suffix is added: x_tif and x_hdr. Names that are too
    long are shortened. Names count as the same if `comparable` makes them equal.

    Args:
        cubes: paths, or names of cubes that are not files.
        names_of: returns the names of the files for a stem: the stem, each with another ending.
        number: added to the stems unless it is 1, to find names that are not taken.

    Returns:
        the names for each cube.

    Raises:
        OutputError: two cubes would be written to the same file.
    """
    longest = max((_n_bytes(ending) for ending in names_of("")), default=0)
    room = _MAX_NAME_BYTES - longest - _NUMBER_BYTES
    stems = [shortened(stem, room) for stem in _different_stems(cubes, names_of)]
    if number != 1:
        stems = [f"{stem}_{number}" for stem in stems]
    outputs = tuple(OutputNames(stem, tuple(names_of(stem))) for stem in stems)
    owners: dict[str, Path | str] = {}
    for cube, output in zip(cubes, outputs, strict=True):
        for name in output.names:
            other = owners.setdefault(comparable(name), cube)
            if other is not cube:
                raise _clash(other, cube, name)
    return outputs


def find_existing(
    folder: Path, outputs: Iterable[OutputNames], inputs: Iterable[Path] = ()
) -> tuple[Path, ...]:
    """Return the files of a plan that exist in a folder.

    Args:
        folder: the output folder, which need not exist.
        outputs: from `plan_outputs`.
        inputs: files that must not be replaced.

    Raises:
        OutputError: a file of the plan is one of the inputs.
    """
    paths = (folder / name for output in outputs for name in output.names)
    existing = tuple(path for path in paths if os.path.lexists(path))
    kept = {identity for each in inputs if (identity := _identity(each)) is not None}
    for path in existing:
        if _identity(path) in kept:
            raise OutputError(
                f"{path} is a cube to be segmented and would be replaced: choose another folder."
            )
    return existing


def comparable(name: str) -> str:
    """Convert a name so that names are equal that a file system may take for the same.

    Many disks ignore the case of letters and how an accent is stored.
    """
    return normalize("NFC", normalize("NFC", name).casefold())


def shortened(name: str, n_bytes: int) -> str:
    """Shorten a name to some bytes of UTF-8; a hash keeps names with the same start different."""
    if _n_bytes(name) <= n_bytes:
        return name
    ending = "-" + sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    start = name
    while _n_bytes(start + ending) > n_bytes:
        start = start[:-1]
    return start + ending


def _different_stems(
    cubes: Sequence[Path | str], names_of: Callable[[str], Iterable[str]]
) -> list[str]:
    """Return the stem of each cube, with the suffix of its file where that is necessary."""
    plain = [cube.stem if isinstance(cube, Path) else _cleaned(cube) for cube in cubes]
    long = [
        f"{stem}_{cube.suffix[1:]}" if isinstance(cube, Path) and cube.suffix else stem
        for cube, stem in zip(cubes, plain, strict=True)
    ]
    stems = plain
    while True:
        owners: dict[str, list[int]] = {}
        for i, stem in enumerate(stems):
            owners.setdefault(comparable(stem), []).append(i)
        clashes = [indices for indices in owners.values() if len(indices) > 1]
        if not clashes:
            return stems
        clashing = {i for indices in clashes for i in indices}
        longer = [long[i] if i in clashing else stem for i, stem in enumerate(stems)]
        if longer == stems:
            one, other = clashes[0][:2]
            raise _clash(cubes[one], cubes[other], next(iter(names_of(plain[one]))))
        stems = longer


def _clash(one: Path | str, other: Path | str, name: str) -> OutputError:
    return OutputError(
        f"{one} and {other} would both be written to {name}: rename one of them, or write them "
        "into different folders."
    )


def _cleaned(name: str) -> str:
    """Replace what cannot be in a file name; "cube" if nothing is left."""
    cleaned = _INVALID.sub("_", name).strip(" .") or "cube"
    return f"_{cleaned}" if _RESERVED.match(cleaned) else cleaned


def _n_bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and number of a file; None if it does not exist."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
