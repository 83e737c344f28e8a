"""MATLAB files: v5 (and v4, v6, v7) with SciPy, v7.3 as the HDF5 files they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from carl.io import hdf5
from carl.io.reader import FileContents, Reader, reading
from carl.io.variables import Variable, choose_cube, find_wavelengths

_KINDS = {"double": "f", "single": "f", "logical": "b"}


def sniff(path: Path) -> bool:
    """By the suffix alone, which nothing else uses: a damaged file is reported, not passed over."""
    return True


def read(path: Path, variable: str | None = None) -> FileContents:
    """The cube of a .mat file: decompressed into memory from v5, read as asked for from v7.3.

    Raises:
        CubeError: damaged, or does not tell which of its variables is the cube.
    """
    if hdf5.is_hdf5(path):
        return hdf5.read(path, variable)
    return _read_v5(path, variable)


def _read_v5(path: Path, wanted: str | None) -> FileContents:
    import scipy.io

    with reading(path, "MATLAB"):
        variables = [
            Variable(name, tuple(int(n) for n in shape), _kind(matlab_class))
            for name, shape, matlab_class in scipy.io.whosmat(str(path))
        ]
        cube = choose_cube(variables, wanted, path)
        listed = find_wavelengths(variables, cube)
        names = [cube.name] + ([] if listed is None else [listed.name])
        arrays = scipy.io.loadmat(str(path), variable_names=names)
        data = np.asarray(arrays[cube.name])
        wavelengths = None if listed is None else np.ravel(arrays[listed.name])
    return FileContents(
        data=data, wavelengths=wavelengths, metadata={"format": "MATLAB", "variable": cube.name}
    )


def _kind(matlab_class: str) -> str:
    """NumPy kind of a MATLAB class; "O" for what is no array of numbers."""
    if matlab_class.startswith(("int", "uint")):
        return matlab_class[0]
    return _KINDS.get(matlab_class, "O")


READER = Reader("MATLAB", (".mat",), sniff, read)
