"""Values that are missing from spectra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fill_missing(spectra: NDArray[np.float32], wavelengths: NDArray[np.float64]) -> None:
    """Fill what is not finite, in place.

    A missing band takes the value of the pixel's nearest finite band by wavelength; a pixel without
    any finite band becomes 0.

    Args:
        spectra: (..., C).
        wavelengths: (C,) in nm, in any order.
    """
    missing = ~np.isfinite(spectra)
    incomplete = missing.any(axis=-1)
    if not incomplete.any():
        return
    order = np.argsort(wavelengths, kind="stable")
    nm = np.asarray(wavelengths, np.float64)[order]
    pixels = spectra[incomplete][:, order]
    finite = ~missing[incomplete][:, order]

    position = np.arange(nm.size)
    before = np.maximum.accumulate(np.where(finite, position, -1), axis=1)
    after = np.minimum.accumulate(np.where(finite, position, nm.size)[:, ::-1], axis=1)[:, ::-1]
    to_before = np.where(before >= 0, nm - nm[before], np.inf)
    to_after = np.where(after < nm.size, nm[np.minimum(after, nm.size - 1)] - nm, np.inf)
    nearest = np.where(to_before <= to_after, before, after).clip(0, nm.size - 1)

    filled = np.take_along_axis(pixels, nearest, axis=1)
    filled[~finite.any(axis=1)] = 0
    spectra[incomplete] = filled[:, np.argsort(order)]
