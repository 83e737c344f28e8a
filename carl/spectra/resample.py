"""Matrices that resample spectra to other wavelengths or to the filters of another camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from carl.arrays import Float32Array, Float64Array
from carl.errors import WavelengthError


def wavelength_grid(cameras: Sequence[Float64Array]) -> Float64Array:
    """Return wavelengths at which the spectra of several cameras can be compared.

    These are the bands of the camera with the most bands within the range shared by all, so that
    the spectra of a single camera are not interpolated: (G,) wavelengths in nm, increasing.

    Raises:
        WavelengthError: the cameras share no range.
    """
    low = max(float(np.min(nm)) for nm in cameras)
    high = min(float(np.max(nm)) for nm in cameras)
    densest = np.unique(max(cameras, key=len))
    inside = densest[(densest >= low) & (densest <= high)]
    if inside.size == 0:
        raise WavelengthError(
            "The cubes share no range of wavelengths: use cubes of cameras whose ranges overlap."
        )
    return np.asarray(inside, np.float64)


def resampling_matrix(wavelengths: Float64Array, target: Float64Array) -> Float32Array:
    """Compute weights that resample spectra to other wavelengths.

    Onto fewer wavelengths, bands are averaged with triangular weights as wide as the steps of the
    target, so that all bands contribute; otherwise spectra are interpolated linearly. Beyond the
    outermost bands, the nearest one is used.

    Args:
        wavelengths: (C,) of the spectra in nm, in any order.
        target: (G,) in nm, increasing.

    Returns:
        (C, G) weights for ``spectra @ weights``; columns sum to 1.
    """
    interpolated = interpolation_matrix(wavelengths, target)
    if target.size >= wavelengths.size:
        return interpolated
    hats = np.stack([np.interp(wavelengths, target, row) for row in np.eye(target.size)], axis=1)
    hats *= ((wavelengths >= target[0]) & (wavelengths <= target[-1]))[:, None]
    total = hats.sum(axis=0)
    averaged = hats / np.maximum(total, np.finfo(np.float64).tiny)
    return np.where(total > 0, averaged, interpolated).astype(np.float32)


def interpolation_matrix(wavelengths: Float64Array, target: Float64Array) -> Float32Array:
    """Compute (C, G) weights, with columns that sum to 1, of linear interpolation.

    The (C,) wavelengths of the spectra and the (G,) targets may be in any order; bands of equal
    wavelength share its weight. Beyond the outermost bands, the nearest one is used.
    """
    centres, index, counts = np.unique(wavelengths, return_inverse=True, return_counts=True)
    hats = np.stack([np.interp(target, centres, row) for row in np.eye(centres.size)])
    return (hats[index] / counts[index][:, None]).astype(np.float32)


def filter_matrix(
    wavelengths: Float64Array, centres: Float64Array, fwhm: Float64Array
) -> Float32Array:
    """Compute weights that filter spectra with the Gaussian filters of a camera.

    Args:
        wavelengths: (G,) of the spectra in nm, increasing.
        centres: (C,) of the filters in nm.
        fwhm: (C,) full widths at half maximum in nm, at least the steps of the wavelengths.

    Returns:
        (G, C) weights for ``spectra @ weights``; columns sum to 1.
    """
    steps = np.gradient(wavelengths) if wavelengths.size > 1 else np.ones(1)
    distance = (wavelengths[:, None] - centres) / fwhm
    # exp(−4 ln2 (Δλ / FWHM)²); subtracting the minimum gives a filter beyond the outermost
    # wavelength the weight 1 there.
    exponent = -4 * np.log(2) * (distance**2 - np.min(distance**2, axis=0))
    weights = np.exp(exponent) * steps[:, None]
    return np.asarray(weights / weights.sum(axis=0), np.float32)
