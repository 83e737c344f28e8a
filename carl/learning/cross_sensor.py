"""Mapping of the spectra of one camera to the spectral components of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.learning.principal_components import MinimumNoiseFraction
from carl.spectra.normalise import optical_density, sample_spectra, white_level
from carl.spectra.resample import filter_matrix, interpolation_matrix

_SAMPLE = 20_000
"""Pixels that the error of an averaging mapping is estimated from."""
_LEAST_COVERAGE = 1 / 3
"""Least share of the grid's wavelength range that a camera must cover."""
_WIDTH_TOLERANCE = 1.2
"""Factor by which the stated widths of filters may be wrong."""


@dataclass(frozen=True, eq=False)
class CrossSensorMapping:
    """From the spectra of a camera to components.

    Attributes:
        bands: indices of the bands to use.
        to_grid: (C, G) from these bands to the grid, or None if the basis applies to the bands.
        mean: of the optical densities.
        basis: from centred optical densities to (k,) components.
        error_variance: (k,) relative error variance of each component; None for none.
    """

    bands: NDArray[np.intp]
    to_grid: Float32Array | None
    mean: Float32Array
    basis: Float32Array
    error_variance: Float32Array | None

    @property
    def is_same_camera(self) -> bool:
        """Whether the bands are those that the components were fitted to."""
        return self.to_grid is None and self.error_variance is None

    def components(self, spectra: Float32Array, white: float) -> Float32Array:
        """Return the (..., k) components of (..., C) spectra, given the value of white."""
        in_order = np.array_equal(self.bands, np.arange(spectra.shape[-1]))
        values = spectra if in_order else spectra[..., self.bands]
        values = values if self.to_grid is None else values @ self.to_grid
        return np.asarray(optical_density(values, white) @ self.basis - self.mean @ self.basis)


def cross_sensor_mapping(
    cube: SpectralCube, grid: Float64Array, basis: MinimumNoiseFraction
) -> CrossSensorMapping:
    """Compute the mapping of the spectra of any camera to the components of a transform.

    The cube has no bad bands; the transform was fitted at (G,) grid wavelengths in nm, increasing.

    Raises:
        WavelengthError: wavelengths are missing, or cover less than a third of the grid.
    """
    wavelengths = cube.require_wavelengths()
    order = np.argsort(wavelengths, kind="stable")
    if np.array_equal(wavelengths[order], grid):
        return CrossSensorMapping(order, None, basis.mean, basis.basis, None)
    bands = _comparable(wavelengths, grid)
    if _covers(wavelengths[bands], grid):
        return _averaging_mapping(cube, bands, grid, basis)
    return _estimating_mapping(cube, bands, grid, basis)


def _averaging_mapping(
    cube: SpectralCube, bands: NDArray[np.intp], grid: Float64Array, basis: MinimumNoiseFraction
) -> CrossSensorMapping:
    """Map a camera with at least as many bands as the grid, by averaging its bands.

    The widths of the grid's filters are unknown. With components a and b under the narrowest and
    the widest filters, the relative error variance is mean((a − b)²) / 4 / variance.
    """
    narrow, wide = _filters(cube.require_wavelengths()[bands], grid, None)
    sample, _ = sample_spectra(cube, _SAMPLE)
    white = white_level(cube)
    a, b = (basis(optical_density(sample[:, bands] @ each, white)) for each in (narrow, wide))
    error_variance = np.mean((a - b) ** 2, axis=0) / 4 / basis.spread**2
    return CrossSensorMapping(
        bands,
        np.float32(0.5) * (narrow + wide),
        basis.mean,
        basis.basis,
        error_variance.astype(np.float32),
    )


def _estimating_mapping(
    cube: SpectralCube, bands: NDArray[np.intp], grid: Float64Array, basis: MinimumNoiseFraction
) -> CrossSensorMapping:
    """Map a camera with fewer bands than the grid, by Wiener estimation of the components."""
    fwhm = None if cube.fwhm is None else cube.fwhm[bands]
    narrow, wide = _filters(grid, cube.require_wavelengths()[bands], fwhm)
    half = np.float32(0.5)
    expected = half * (narrow + wide)
    gain, error_variance = basis.estimator(expected, half * (wide - narrow))
    return CrossSensorMapping(bands, None, basis.mean @ expected, gain, error_variance)


def _comparable(wavelengths: Float64Array, grid: Float64Array) -> NDArray[np.intp]:
    """Return the bands within the grid's range, extended by its widest step, by wavelength.

    Raises:
        WavelengthError: they cover less than a third of the range.
    """
    low, high = grid[0], grid[-1]
    margin = _widest_step(grid)
    usable = np.flatnonzero((wavelengths >= low - margin) & (wavelengths <= high + margin))
    covered = np.ptp(wavelengths[usable]) if usable.size else 0.0
    if usable.size == 0 or covered < _LEAST_COVERAGE * (high - low):
        raise WavelengthError(
            f"This cube has bands from {wavelengths.min():.0f} to {wavelengths.max():.0f} nm, but "
            f"the classes were learned from {low:.0f} to {high:.0f} nm: use a camera that covers "
            "at least a third of it, or label some pixels of this cube."
        )
    return usable[np.argsort(wavelengths[usable], kind="stable")]


def _covers(wavelengths: Float64Array, grid: Float64Array) -> bool:
    """Return whether there are as many bands as grid points, up to both ends of the grid."""
    margin = _widest_step(grid)
    ends = wavelengths[0] - grid[0] <= margin and grid[-1] - wavelengths[-1] <= margin
    return bool(wavelengths.size >= grid.size and ends)


def _filters(
    wavelengths: Float64Array, centres: Float64Array, fwhm: NDArray[np.float64] | None
) -> tuple[Float32Array, Float32Array]:
    """Return the narrowest and the widest filters, (G, C) each, that a camera's bands may have.

    Spectra have (G,) wavelengths and bands (C,) centres, both increasing. Without stated widths
    (C,), filters range from an infinitely narrow one to the spacing of the bands.
    """
    step = np.full(centres.size, _widest_step(wavelengths))
    if fwhm is not None:
        stated = np.maximum(fwhm, step)
        narrow = filter_matrix(wavelengths, centres, stated / _WIDTH_TOLERANCE)
        return narrow, filter_matrix(wavelengths, centres, stated * _WIDTH_TOLERANCE)
    spacing = np.median(np.diff(centres)) if centres.size > 1 else 0.0
    wide = filter_matrix(wavelengths, centres, np.maximum(spacing, 2 * step))
    return interpolation_matrix(wavelengths, centres), wide


def _widest_step(wavelengths: Float64Array) -> float:
    return float(np.max(np.diff(wavelengths), initial=1.0))
