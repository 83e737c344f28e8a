"""Interface of the format readers, contents of a file, and choice of the arrays in it.

Decisions that do not depend on the format (the axis of the bands, which wavelengths apply) are made
in `carl.io.assembly`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from carl.errors import CarlError, CubeError, is_out_of_memory
from carl.lazy_array import ArraySource

_WAVELENGTH_NAMES = ("wavelength", "wavelen", "lambda", "wvl", "wlen", "band_centre", "band_center")
"""Parts of the names of arrays that hold wavelengths."""
_WAVELENGTH_EXACT_NAMES = ("wl", "wls", "wave", "waves", "nm", "bands_nm", "centers", "centres")
_MAX_WAVELENGTHS = 1 << 20
"""Longest list of wavelengths: it is loaded whole, and files may state any length."""
_MAX_LISTED = 12
"""Number of arrays that an error message lists."""


@dataclass(frozen=True, eq=False)
class FileContents:
    """Contents of a cube's file as stored; None for what the file does not state."""

    data: ArraySource  # the three-dimensional pixels, axes in the order of the file
    band_axis: int | None = None
    default_band_axis: int = 2  # axis of the bands if nothing else determines it
    wavelengths: ArrayLike | None = None  # band centres in `wavelength_unit`
    wavelength_unit: str | None = None  # of `wavelengths` and `fwhm`
    fwhm: ArrayLike | None = None
    good_bands: ArrayLike | None = None  # one number per band, 0 for bad ones
    scale: ArrayLike | None = None  # factor to physical values, one number or one per band
    offset: ArrayLike | None = None  # added after scaling, one number or one per band
    nodata: float | None = None  # stored number that means "no data"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences for the user


@dataclass(frozen=True)
class Reader:
    """A file format.

    Attributes:
        name: display name of the format.
        suffixes: file name suffixes in lower case, with their dot; "" for files without one. None
            for formats whose cubes are folders.
        read: reads a file; the second argument names the variable to read, in files with several.
            Raises a `CubeError` for known problems; any other exception is reported as a damaged
            file.
        sniff: returns whether a file with such a suffix has this format; reads a few bytes at most.
            By default the suffix decides, so that damaged files are reported as this format.
        sniff_folder: returns whether a folder is a cube of this format; False by default.
        main_file: returns the file or folder that identifies a cube, the same for all that may be
            opened in its place; by default what is opened.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path, str | None], FileContents]
    sniff: Callable[[Path], bool] = lambda path: True
    sniff_folder: Callable[[Path], bool] = lambda path: False
    main_file: Callable[[Path], Path] = lambda path: path


@contextmanager
def decoding_errors(
    path: Path, what: str, error_type: type[CarlError] = CubeError
) -> Iterator[None]:
    """Replace any exception raised while decoding a file by one that describes the problem.

    Decoders raise nearly every type of exception for damaged files (struct.error, zlib.error,
    KeyError, RecursionError, MemoryError, …), so all are caught; use it around decoding only.

    Raises:
        error_type: in place of any exception that is not a `CarlError`; states that `path` cannot
            be read as `what`.
    """
    try:
        yield
    except CarlError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise error_type(
                f"{path.name} needs more memory than there is to be read as {what}: close other "
                "programs, or copy it again if it should not be so large."
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise error_type(
            f"{path.name} cannot be read as {what} ({reason}): "
            "it is damaged, cut off or another kind of file."
        ) from error


def starts_with(path: Path, *signatures: bytes) -> bool:
    """Return whether a file starts with one of these bytes; False if it cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(max(len(signature) for signature in signatures))
    except OSError:
        return False
    return head.startswith(signatures)


@dataclass(frozen=True)
class Variable:
    """An array in a file: its name, shape and the kind of its NumPy dtype ("f", "u", …)."""

    name: str
    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        return f"{self.name} ({' × '.join(str(n) for n in self.shape)})"


def choose_cube(variables: Sequence[Variable], name: str | None, path: Path) -> Variable:
    """Return the array of a given name; if that is None, the only three-dimensional one.

    Raises:
        CubeError: there is no such array, none that is a cube, or several.
    """
    if name is not None:
        return _by_name(variables, name, path)
    numeric = [variable for variable in variables if variable.kind in "biuf"]
    cubes = [variable for variable in numeric if len(variable.shape) == 3]
    if len(cubes) == 1:
        return cubes[0]
    if cubes:
        raise CubeError(
            f"{path.name} holds several cubes, {_listed(cubes)}: choose one with "
            f"variable='{cubes[0].name}' (or --variable {cubes[0].name})."
        )
    larger = [variable for variable in numeric if len(variable.shape) > 3]
    if len(larger) == 1:
        return larger[0]  # a cube if all but three of its axes have the length 1
    arrays = [variable for variable in numeric if np.prod(variable.shape, dtype=object) > 1]
    if len(arrays) == 1:
        if len(arrays[0].shape) != 2:
            return arrays[0]  # carl.io.assembly refuses other numbers of dimensions
        raise CubeError(
            f"{path.name} holds a two-dimensional image, {arrays[0]}: a cube also needs bands."
        )
    found = f"only {_listed(arrays)}" if arrays else "no array of numbers"
    raise CubeError(
        f"{path.name} holds {found}: a cube needs three dimensions, height, width and bands."
    )


def find_wavelengths(variables: Sequence[Variable], cube: Variable) -> Variable | None:
    """Return the list named like wavelengths that is as long as an axis of the cube, or None."""
    for variable in variables:
        name = variable.name.rsplit("/", 1)[-1].lower()
        is_named = name in _WAVELENGTH_EXACT_NAMES or any(w in name for w in _WAVELENGTH_NAMES)
        is_named = is_named and not name.startswith("good")  # flags of EMIT
        is_list = sum(n > 1 for n in variable.shape) <= 1 and len(variable.shape) <= 2
        length = int(np.prod(variable.shape, dtype=object))
        is_long = length in cube.shape and length <= _MAX_WAVELENGTHS
        if is_named and is_list and is_long and variable.kind in "iuf":
            return variable
    return None


def _by_name(variables: Sequence[Variable], name: str, path: Path) -> Variable:
    for variable in variables:
        if variable.name.strip("/") != name.strip("/"):
            continue
        if variable.kind not in "biuf":
            raise CubeError(f"'{name}' in {path.name} is not an array of real numbers.")
        return variable
    raise CubeError(
        f"{path.name} has no variable '{name}': it holds {_listed(variables) or 'none'}."
    )


def _listed(variables: Sequence[Variable]) -> str:
    names = ", ".join(str(variable) for variable in variables[:_MAX_LISTED])
    n_more = len(variables) - _MAX_LISTED
    return f"{names} and {n_more} more" if n_more > 0 else names
