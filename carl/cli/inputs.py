"""Cubes as a command wants them: opened, and seen to be usable before long work begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from carl.cli.interruptible import InterruptibleArray
from carl.cube import SpectralCube
from carl.io import read_cube
from carl.spectra.normalise import check_pixels


def open_cube(
    path: Path, wavelengths: str | None, camera: str | None, variable: str | None
) -> SpectralCube:
    """A cube with something to see in it; its wavelengths may be unknown.

    Raises:
        CubeError: the file cannot be read as a cube, or holds no finite value.
        WavelengthError: the wavelengths or the camera do not fit the cube.
    """
    cube = read_cube(path, wavelengths=wavelengths, camera=camera, variable=variable)
    cube = replace(cube, data=InterruptibleArray(cube.data))
    check_pixels(cube)
    return cube


def open_cube_with_wavelengths(
    path: Path, wavelengths: str | None, camera: str | None, variable: str | None
) -> SpectralCube:
    """A cube for the network, which has to know its wavelengths.

    Raises:
        CubeError: the file cannot be read as a cube, or holds no finite value.
        WavelengthError: the wavelengths are unknown, or do not fit the cube.
    """
    # Where memory is short, SciPy's BLAS asks for its own for ever, and nothing can end that: so it
    # comes before PyTorch, which gives up with an error.
    import scipy.linalg  # noqa: F401

    cube = open_cube(path, wavelengths, camera, variable)
    cube.require_wavelengths()
    return cube
