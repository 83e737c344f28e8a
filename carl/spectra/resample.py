"""Spectra at other wavelengths and through other filters: a grid makes cameras comparable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.errors import WavelengthError


def wavelength_grid(cameras: Sequence[Float64Array]) -> Float64Array:
    """Wavelengths at which the spectra of all these cameras can be compared.

    The bands of the camera with the most bands, inside the range that all share: with one camera
    nothing is interpolated.

    Args:
        cameras: wavelengths of each camera in nm, in any order.

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
    return np.asarray(inside, np.float64)


def resampling_matrix(wavelengths: Float64Array, wanted: Float64Array) -> NDArray[np.float32]:
    """Weights that turn spectra at some wavelengths into spectra at others.

    Where fewer are wanted than there are, bands are averaged under triangles as wide as the steps
    between the wanted ones, so that nothing between them is lost; elsewhere this is linear
    interpolation. Outside the bands the nearest one is taken.

    Args:
        wavelengths: (C,) of the spectra in nm, in any order.
        wanted: (G,) in nm, increasing.

    Returns:
        (C, G), columns sum to 1; to be multiplied from the right to spectra.
    """
    interpolated = interpolation_matrix(wavelengths, wanted)
    if wanted.size >= wavelengths.size:
        return interpolated
    hats = np.stack([np.interp(wavelengths, wanted, row) for row in np.eye(wanted.size)], axis=1)
    hats *= ((wavelengths >= wanted[0]) & (wavelengths <= wanted[-1]))[:, None]
    total = hats.sum(axis=0)
    averaged = hats / np.maximum(total, np.finfo(np.float64).tiny)
    return np.where(total > 0, averaged, interpolated).astype(np.float32)


def interpolation_matrix(wavelengths: Float64Array, wanted: Float64Array) -> NDArray[np.float32]:
    """Weights of linear interpolation, (C, G); bands at one wavelength share its weight.

    Args:
        wavelengths: (C,) of the spectra in nm, in any order.
        wanted: (G,) in nm, in any order; beyond the last band, that band is taken.
    """
    centres, index, counts = np.unique(wavelengths, return_inverse=True, return_counts=True)
    hats = np.stack([np.interp(wanted, centres, row) for row in np.eye(centres.size)])
    return (hats[index] / counts[index][:, None]).astype(np.float32)


def filter_matrix(
    wavelengths: Float64Array, centres: Float64Array, fwhm: Float64Array
) -> NDArray[np.float32]:
    """Weights that turn spectra into what a camera with Gaussian filters sees of them.

    Args:
        wavelengths: (G,) of the spectra in nm, increasing.
        centres: (C,) of the filters in nm.
        fwhm: (C,) widths at half maximum in nm; not below the steps between wavelengths.

    Returns:
        (G, C), columns sum to 1; to be multiplied from the right to spectra.
    """
    steps = np.gradient(wavelengths) if wavelengths.size > 1 else np.ones(1)
    distance = (wavelengths[:, None] - centres) / fwhm
    # A filter beyond the last wavelength sees the last one.
    exponent = -4 * np.log(2) * (distance**2 - np.min(distance**2, axis=0))
    weights = np.exp(exponent) * steps[:, None]
    return np.asarray(weights / weights.sum(axis=0), np.float32)
