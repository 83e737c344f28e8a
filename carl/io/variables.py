"""Files with several arrays: which one is the cube, and which one its wavelengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carl.errors import CubeError

_WAVELENGTH_NAMES = ("wavelength", "wavelen", "lambda", "wvl", "wlen", "band_centre", "band_center")
_WAVELENGTH_EXACTLY = ("wl", "wls", "wave", "waves", "nm", "bands_nm", "centers", "centres")
_LISTED = 12


@dataclass(frozen=True)
class Variable:
    """An array in a file: its name, shape, and NumPy kind of numbers ("f", "u", …)."""

    name: str
    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        return f"{self.name} ({' × '.join(str(n) for n in self.shape)})"


def choose_cube(variables: Sequence[Variable], wanted: str | None, path: Path) -> Variable:
    """The cube among the arrays of a file: the one asked for, or the only three-dimensional one.

    Raises:
        CubeError: no such array, none that is a cube, or several.
    """
    numeric = [variable for variable in variables if variable.kind in "biuf"]
    if wanted is not None:
        return _by_name(variables, wanted, path)
    cubes = [variable for variable in numeric if len(variable.shape) == 3]
    if len(cubes) == 1:
        return cubes[0]
    if cubes:
        raise CubeError(
            f"{path.name} holds several cubes, {_listed(cubes)}: choose one with "
            f"variable='{cubes[0].name}' (or --variable {cubes[0].name})."
        )
    arrays = [variable for variable in numeric if np.prod(variable.shape, dtype=object) > 1]
    if len(arrays) == 1 and len(arrays[0].shape) != 2:
        return arrays[0]  # four dimensions or more: the same sentence for every format
    if len(arrays) == 1:
        raise CubeError(
            f"{path.name} holds a two-dimensional image, {arrays[0]}: a cube has bands as well."
        )
    found = f"only {_listed(arrays)}" if arrays else "no array of numbers"
    raise CubeError(
        f"{path.name} holds {found}: a cube has three dimensions, height, width and bands."
    )


def find_wavelengths(variables: Sequence[Variable], cube: Variable) -> Variable | None:
    """The list whose name says wavelength and whose length is that of an axis of the cube."""
    for variable in variables:
        name = variable.name.rsplit("/", 1)[-1].lower()
        says_so = name in _WAVELENGTH_EXACTLY or any(word in name for word in _WAVELENGTH_NAMES)
        is_list = sum(n > 1 for n in variable.shape) <= 1 and len(variable.shape) <= 2
        length = int(np.prod(variable.shape, dtype=object))
        if says_so and is_list and variable.kind in "iuf" and length in cube.shape:
            return variable
    return None


def _by_name(variables: Sequence[Variable], wanted: str, path: Path) -> Variable:
    for variable in variables:
        if variable.name.strip("/") != wanted.strip("/"):
            continue
        if variable.kind not in "biuf":
            raise CubeError(f"'{wanted}' in {path.name} is no array of real numbers.")
        return variable
    raise CubeError(
        f"{path.name} has no variable '{wanted}': it holds {_listed(variables) or 'none'}."
    )


def _listed(variables: Sequence[Variable]) -> str:
    names = ", ".join(str(variable) for variable in variables[:_LISTED])
    return f"{names} and {len(variables) - _LISTED} more" if len(variables) > _LISTED else names
