"""NetCDF 3 files (classic and 64-bit offset), read lazily."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from carl.errors import CubeError
from carl.io.axes import arrange
from carl.io.bounded_file import BoundedFile
from carl.io.cf import ATTRIBUTES, scaling
from carl.io.reader import (
    FileContents,
    Reader,
    Variable,
    choose_cube,
    find_wavelengths,
    starts_with,
)
from carl.mapped_files import FileArray, SharedFile

SIGNATURES = (b"CDF\1", b"CDF\2")


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a file.

    Raises:
        CubeError: the file is damaged, or it is unclear which of its variables is the cube.
    """
    from scipy.io import netcdf_file

    with BoundedFile(path) as content, netcdf_file(content, mmap=True) as file:
        found = {name: each for name, each in file.variables.items() if each.data is not None}
        variables = [
            Variable(name, tuple(each.data.shape), each.data.dtype.kind)
            for name, each in found.items()
        ]
        cube = choose_cube(variables, variable, path)
        listed = find_wavelengths(variables, cube)
        names = found[cube.name].dimensions
        attributes = {name: getattr(found[cube.name], name, None) for name in ATTRIBUTES}
        pixels = _from_file(found[cube.name].data, path)
        wavelengths = unit = None
        if listed is not None:
            wavelengths = np.ravel(_from_file(found[listed.name].data, path))
            unit = getattr(found[listed.name], "units", None)
        # The file cannot be closed while arrays refer to its map.
        del found
        file.variables.clear()
    data, band_axis, axes = arrange(pixels, names, path)
    return FileContents(
        data=data,
        band_axis=band_axis,
        axes=axes,
        wavelengths=wavelengths,
        wavelength_unit=unit.decode("utf-8", "replace") if isinstance(unit, bytes) else None,
        **scaling(attributes),
        metadata={"format": "NetCDF 3", "variable": cube.name},
    )


def _from_file(view: Any, path: Path) -> FileArray:
    """Return a view of the map of a file as an array that is read from the file."""
    whole = view
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    if whole is view:
        raise CubeError(f"{path.name} has no pixels in its first variable: it is damaged.")
    start = view.ctypes.data - whole.ctypes.data
    return FileArray(SharedFile(path), view.dtype, start, view.shape, view.strides)


READER = Reader("NetCDF 3", (".nc", ".cdf"), read, lambda path: starts_with(path, *SIGNATURES))
