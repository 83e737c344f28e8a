"""Spectra of single pixels in three normalisations, each as principal components.

No normalisation suits all cubes: the optical density is linear in the concentration of absorbers,
the spectrum divided by its length does not depend on the brightness, and the derivative of the
latter shows narrow bands above a smooth background. The bands count alike in the first two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from carl.arrays import Float32Array, Float64Array, check_arrays
from carl.spectra.normalise import optical_density

VIEWS = ("density", "unit spectrum", "derivative")
"""Names of the feature groups of the three normalisations."""
N_COMPONENTS = 16
"""Principal components of each; further ones hold less than a thousandth of the variance of the
labelled cubes that the learner was developed with."""
_LEAST_BANDS = 20
"""Least number of bands for a derivative."""
_BANDS_PER_SIGMA = 80
"""Bands of a spectrum in units of the σ of the smoothing before the derivative, at least one."""
_AXES = {"density_mean": "G", "density_basis": "G a", "unit_mean": "G", "unit_basis": "G b"}
_AXES |= {"derivative_basis": "G c"}


@dataclass(frozen=True, eq=False)
class SpectralViews:
    """Linear maps from the spectra of one camera to components; each view has total variance 1.

    Attributes:
        density_mean: (G,) of the optical densities.
        density_basis: (G, a).
        unit_mean: (G,) of the spectra divided by their length.
        unit_basis: (G, b).
        derivative_basis: (G, c) from the same centred spectra; c is 0 for fewer than 20 bands.
    """

    density_mean: Float32Array
    density_basis: Float32Array
    unit_mean: Float32Array
    unit_basis: Float32Array
    derivative_basis: Float32Array

    @classmethod
    def fit(cls, spectra: Float32Array, densities: Float32Array) -> Self:
        """Fit the maps to (n, G) spectra of pixels and their optical densities."""
        unit = _unit_length(spectra)
        n_bands = spectra.shape[1]
        derivative: Float64Array = np.zeros((n_bands, 0))
        if n_bands >= _LEAST_BANDS:
            smoothing = gaussian_filter1d(
                np.eye(n_bands), max(1.0, n_bands / _BANDS_PER_SIGMA), axis=1
            )
            operator = np.diff(smoothing, axis=1)
            derivative = operator @ _standardised_basis(unit @ operator)
        arrays = (
            densities.mean(axis=0, dtype=np.float64),
            _standardised_basis(densities),
            unit.mean(axis=0, dtype=np.float64),
            _standardised_basis(unit),
            derivative,
        )
        return cls(*(each.astype(np.float32) for each in arrays))

    @property
    def widths(self) -> dict[str, int]:
        """Number of components of each view by its name; views without any are missing."""
        bases = (self.density_basis, self.unit_basis, self.derivative_basis)
        return {
            name: int(basis.shape[1])
            for name, basis in zip(VIEWS, bases, strict=True)
            if basis.shape[1]
        }

    def __call__(self, spectra: Float32Array, white: float) -> Float32Array:
        """Return the (..., a + b + c) components of (..., G) spectra, given the value of white."""
        density = optical_density(spectra, white) - self.density_mean
        unit = _unit_length(spectra) - self.unit_mean
        bases = np.concatenate([self.unit_basis, self.derivative_basis], axis=1)
        return np.concatenate([density @ self.density_basis, unit @ bases], axis=-1)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays but empty ones by name, for a file; `from_arrays` is the inverse."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: each for name, each in arrays.items() if each.size}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the views whose `to_arrays` are given.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit each other.
        """
        check_arrays(arrays, {name: _AXES[name] for name in _AXES if name in arrays})
        empty = np.zeros((len(arrays["unit_mean"]), 0))
        known = {"derivative_basis": empty, **arrays}
        return cls(*(np.asarray(known[each.name], np.float32) for each in fields(cls)))


def _unit_length(spectra: Float32Array) -> Float32Array:
    length = np.sqrt(np.einsum("...g,...g->...", spectra, spectra))
    least = np.finfo(np.float32).tiny
    return np.asarray(spectra / np.maximum(length, least)[..., None], np.float32)


def _standardised_basis(values: NDArray[np.floating]) -> Float64Array:
    """Return (G, d): every band divided by its spread, rotated, and all by one number."""
    centred = values - values.mean(axis=0, dtype=np.float64)
    spread = centred.std(axis=0)
    constant = spread <= np.finfo(np.float32).eps * max(float(spread.max()), 1e-30)
    spread[constant] = np.inf
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(centred / spread, rowvar=False)))
    directions = directions[:, ::-1][:, :N_COMPONENTS]
    total = np.maximum(variances[::-1][:N_COMPONENTS].sum(), np.finfo(np.float32).tiny)
    return np.asarray(directions / spread[:, None] / np.sqrt(total))
