"""The same spectra at other wavelengths: a fixed grid makes cameras comparable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carl.errors import WavelengthError

FloatArray = NDArray[np.float64]

MOST_GRID_POINTS = 64


def wavelength_grid(cameras: Sequence[FloatArray], most: int = MOST_GRID_POINTS) -> FloatArray:
    """Wavelengths at which the spectra of all these cameras can be compared.

    The bands of the camera with the most bands, inside the range that all share, so that nothing is
    interpolated where there is one camera; thinned evenly where they are too many.

    Args:
        cameras: wavelengths of each camera in nm, in any order.
        most: number of grid points at most.

    Returns:
        (G,) increasing wavelengths in nm.

    Raises:
        WavelengthError: the cameras share no range.
    """
    low = max(float(np.min(nm)) for nm in cameras)
    high = min(float(np.max(nm)) for nm in cameras)
    richest = np.unique(max(cameras, key=len))
    inside = richest[(richest >= low) & (richest <= high)]
    if inside.size == 0:
        raise WavelengthError(
            "These cubes share no range of wavelengths: use cubes of cameras that overlap."
        )
    kept = np.unique(np.linspace(0, inside.size - 1, min(most, inside.size)).round().astype(int))
    return np.asarray(inside[kept], np.float64)


def resampling_matrix(wavelengths: FloatArray, wanted: FloatArray) -> NDArray[np.float32]:
    """Weights that turn spectra at some wavelengths into spectra at others.

    Where fewer are wanted than there are, bands are averaged under triangles as wide as the steps
    between the wanted ones, so that nothing between them is lost; elsewhere this is linear
    interpolation. Outside the bands the nearest one is taken.

    Args:
        wavelengths: (C,) of the spectra in nm, in any order.
        wanted: (G,) in nm, in any order.

    Returns:
        (C, G), columns sum to 1; to be multiplied from the right to spectra.
    """
    order = np.argsort(wavelengths, kind="stable")
    bands = np.asarray(wavelengths, np.float64)[order]
    targets, inverse = np.unique(np.asarray(wanted, np.float64), return_inverse=True)
    coarser = targets.size < bands.size
    weights = _averaging(bands, targets) if coarser else _interpolation(bands, targets)
    matrix = np.empty((bands.size, len(inverse)), np.float32)
    matrix[order] = weights[:, inverse]
    return matrix


def to_grid(
    spectra: NDArray[np.float32], wavelengths: FloatArray, grid: FloatArray
) -> NDArray[np.float32]:
    """Spectra (..., C) at `wavelengths` as spectra (..., G) at `grid`; see `resampling_matrix`."""
    if np.array_equal(wavelengths, grid):
        return spectra
    return np.asarray(spectra @ resampling_matrix(wavelengths, grid))


def _interpolation(bands: FloatArray, grid: FloatArray) -> FloatArray:
    """Linear interpolation between sorted bands; bands at the same wavelength share the weight."""
    centres, index, counts = np.unique(bands, return_inverse=True, return_counts=True)
    hats = np.stack([np.interp(grid, centres, row) for row in np.eye(centres.size)])
    return np.asarray(hats[index] / counts[index][:, None])


def _averaging(bands: FloatArray, grid: FloatArray) -> FloatArray:
    """Mean of the bands under triangles that reach from grid point to grid point.

    A grid point with no band under its triangle is interpolated.
    """
    if grid.size == 1:
        return np.full((bands.size, 1), 1 / bands.size)
    hats = np.stack([np.interp(bands, grid, row) for row in np.eye(grid.size)], axis=1)
    inside = (bands >= grid[0]) & (bands <= grid[-1])
    hats *= inside[:, None]
    total = hats.sum(axis=0)
    return np.asarray(
        np.where(total > 0, hats / np.maximum(total, 1e-12), _interpolation(bands, grid))
    )
