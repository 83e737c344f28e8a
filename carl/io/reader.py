"""Interface of the format readers, contents of a file, and choice of the arrays in it.

Decisions that do not depend on the format (the axis of the bands, which wavelengths apply, frames
of a longer recording, flattened tables) are made in `carl.io.selection` and `carl.io.assembly`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
_MAX_AXES = 8
"""Most axes of an array from which a frame is chosen."""


@dataclass(frozen=True, eq=False)
class FileContents:
    """Contents of a cube's file as stored; None for what the file does not state."""

    data: ArraySource  # the pixels, axes in the order of the file; three for a cube
    band_axis: int | None = None
    default_band_axis: int = 2  # axis of the bands if nothing else determines it
    wavelengths: ArrayLike | None = None  # band centres in `wavelength_unit`
    wavelength_unit: str | None = None  # of `wavelengths` and `fwhm`
    wavelength_source: str = "the file"  # where `wavelengths` are from
    camera: str | None = None  # whose wavelengths apply if nothing else states them
    fwhm: ArrayLike | None = None
    good_bands: ArrayLike | None = None  # one number per band, 0 for bad ones
    scale: ArrayLike | None = None  # factor to physical values, one number or one per band
    offset: ArrayLike | None = None  # added after scaling, one number or one per band
    nodata: float | None = None  # stored number that means "no data"
    axes: tuple[str, ...] = ()  # names of the axes, if one has to be chosen, such as "time", "y"
    flattened: str | None = None  # order of the pixels, "C" or "F", if two axes may be a table
    others: tuple[Variable, ...] = ()  # all arrays of the file
    name: str | None = None  # of the cube, if it is not that of the file
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences for the user: what may be wrong or was left out
    assumptions: tuple[str, ...] = ()  # sentences for the user: how the file was understood


@dataclass(frozen=True)
class Choice:
    """One of several cubes that a file may be.

    Attributes:
        value: of the argument of `carl.read_cube` that selects it.
        description: for the user, such as "cube (86 × 123 × 135)".

    Examples:
        >>> Choice("cube", "cube (86 × 123 × 135)").value
        'cube'
    """

    value: str | int
    description: str


class ChoiceError(CubeError):
    """A file may be several cubes, and the user has to choose one.

    Args:
        problem: what the file holds, the beginning of the message; what to do follows.
        argument: name of the argument of `carl.read_cube` that selects one.
        choices: at least one, the most likely one first.

    Attributes:
        problem: see above.
        argument: see above.
        choices: see above.
    """

    def __init__(self, problem: str, argument: str, choices: Sequence[Choice]) -> None:
        self.problem = problem
        self.argument = argument
        self.choices = tuple(choices)
        first = self.choices[0].value
        given = f"'{first}'" if isinstance(first, str) else f"{first}"
        quoted = f'"{first}"' if isinstance(first, str) and " " in first else f"{first}"
        listed = listed_briefly([each.description for each in self.choices])
        super().__init__(
            f"{problem}: choose one, {listed}, with {argument}={given} (or --{argument} {quoted})."
        )


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

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name} ({' × '.join(str(n) for n in self.shape)})"


def choose_cube(variables: Sequence[Variable], name: str | None, path: Path) -> Variable:
    """Return the array of a given name; if that is None, the only one that may be a cube.

    That is the only array with three axes, else the only one with more, else the only one with two.
    Masks (arrays of truth values) are not cubes if there are others, and of several arrays the
    wavelengths of the file select the only one that has as many bands.

    Raises:
        ChoiceError: there are several.
        CubeError: there is no such array, or none that may be a cube.
    """
    if name is not None:
        return _by_name(variables, name, path)
    numeric = [each for each in variables if each.kind in "biuf"]
    for n_axes in (range(3, 4), range(4, _MAX_AXES + 1), range(2, 3)):
        found = [each for each in numeric if len(each.shape) in n_axes]
        if n_axes.start == 2:  # a list of wavelengths may have two axes
            found = [each for each in found if min(each.shape) > 1]
        if len(found) > 1:
            found = [each for each in found if each.kind != "b"] or found
        if len(found) > 1:
            found = [each for each in found if find_wavelengths(variables, each)] or found
        if len(found) == 1:
            return found[0]
        if found:
            what = "cubes" if n_axes.start == 3 else f"arrays of {len(found[0].shape)} axes"
            choices = [Choice(each.name, str(each)) for each in found]
            raise ChoiceError(f"{path.name} holds several {what}", "variable", choices)
    held = f"only {_listed(numeric)}" if numeric else "no array of numbers"
    raise CubeError(
        f"{path.name} holds {held}: a cube needs three dimensions, height, width and bands."
    )


def find_wavelengths(variables: Sequence[Variable], cube: Variable) -> Variable | None:
    """Return the list named like wavelengths that is as long as an axis of the cube, or None."""
    for variable in variables:
        name = variable.name.rsplit("/", 1)[-1].lower()
        is_named = name in _WAVELENGTH_EXACT_NAMES or any(w in name for w in _WAVELENGTH_NAMES)
        is_named = is_named and not name.startswith("good")  # flags of EMIT
        is_list = sum(n > 1 for n in variable.shape) <= 1 and len(variable.shape) <= 2
        is_long = variable.size in cube.shape and variable.size <= _MAX_WAVELENGTHS
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
    return listed_briefly([str(variable) for variable in variables])


def listed_briefly(words: Sequence[str]) -> str:
    """Return words separated by commas, of which a message shows the first ones."""
    n_more = len(words) - _MAX_LISTED
    shown = ", ".join(words[:_MAX_LISTED])
    return f"{shown} and {n_more} more" if n_more > 0 else shown
