"""MATLAB files: v5 to v7, and v7.3, which are HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from carl.io import hdf5
from carl.io.mat5 import stored_arrays
from carl.io.reader import FileContents, Reader
from carl.io.variables import Variable, choose_cube, find_wavelengths


def sniff(path: Path) -> bool:
    """By the suffix alone, which nothing else uses: a damaged file is reported, not passed over."""
    return True


def read(path: Path, variable: str | None = None) -> FileContents:
    """The cube of a .mat file, memory-mapped or read as asked for where it is not compressed.

    Raises:
        CubeError: damaged, or does not tell which of its variables is the cube.
    """
    if hdf5.is_hdf5(path):
        return hdf5.read(path, variable)
    arrays = {array.name: array for array in stored_arrays(path)}
    variables = [Variable(array.name, array.shape, array.kind) for array in arrays.values()]
    cube = choose_cube(variables, variable, path)
    listed = find_wavelengths(variables, cube)
    return FileContents(
        data=arrays[cube.name].load(),
        wavelengths=None if listed is None else np.ravel(arrays[listed.name].load()),
        metadata={"format": "MATLAB", "variable": cube.name},
    )


READER = Reader("MATLAB", (".mat",), sniff, read)
