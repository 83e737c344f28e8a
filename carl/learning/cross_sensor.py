"""How the spectra of one camera are read in the terms of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.learning.minimum_noise_fraction import MinimumNoiseFraction
from carl.spectra.normalise import optical_density, sample_spectra, white_level
from carl.spectra.resample import filter_matrix, interpolation_matrix

Wavelengths = NDArray[np.float64]

_SAMPLE = 20_000
_LEAST_SPANNED = 1 / 3
_TOLERANCE = 1.2
"""Factor by which stated widths of filters may be off."""


@dataclass(frozen=True, eq=False)
class CrossSensorMapping:
    """From a camera's spectra to components.

    Attributes:
        bands: indices of the bands to use.
        to_grid: (C, G) from these bands to the grid, or None to stay with the bands.
        mean: of the densities.
        basis: from centred densities to (k,) components.
        error_variance: (k,) share of each component's variance that may be wrong; None for none.
    """

    bands: NDArray[np.intp]
    to_grid: Float32Array | None
    mean: Float32Array
    basis: Float32Array
    error_variance: Float32Array | None

    def components(self, spectra: Float32Array, white: float) -> Float32Array:
        """(..., C) spectra, and what is white among them, to (..., k)."""
        in_order = np.array_equal(self.bands, np.arange(spectra.shape[-1]))
        values = spectra if in_order else spectra[..., self.bands]
        values = values if self.to_grid is None else values @ self.to_grid
        return np.asarray(optical_density(values, white) @ self.basis - self.mean @ self.basis)


def cross_sensor_mapping(
    cube: SpectralCube, grid: Wavelengths, basis: MinimumNoiseFraction
) -> CrossSensorMapping:
    """How a cube's spectra become components of a basis, and how far that can be trusted.

    Args:
        cube: of any camera, without bad bands.
        grid: (G,) wavelengths the basis was fitted at, in nm, increasing.
        basis: of optical densities at the grid.

    Raises:
        WavelengthError: wavelengths are missing, or span less than a third of the grid.
    """
    wavelengths = cube.require_wavelengths()
    order = np.argsort(wavelengths, kind="stable")
    if np.array_equal(wavelengths[order], grid):
        return CrossSensorMapping(order, None, basis.mean, basis.basis, None)
    bands = _comparable(wavelengths, grid)
    if _covers(wavelengths[bands], grid):
        return _averaging_view(cube, bands, grid, basis)
    return _estimating_view(cube, bands, grid, basis)


def _averaging_view(
    cube: SpectralCube, bands: NDArray[np.intp], grid: Wavelengths, basis: MinimumNoiseFraction
) -> CrossSensorMapping:
    """A camera with at least the grid's bands: they are averaged to what the grid saw.

    How wide the grid's filters were is not known; what that changes on this cube is doubted.
    """
    narrow, wide = _filters(cube.require_wavelengths()[bands], grid, None)
    sample, _ = sample_spectra(cube, _SAMPLE)
    white = white_level(cube)
    one, other = (basis(optical_density(sample[:, bands] @ each, white)) for each in (narrow, wide))
    error_variance = np.mean((one - other) ** 2, axis=0) / 4 / basis.spread**2
    return CrossSensorMapping(
        bands,
        np.float32(0.5) * (narrow + wide),
        basis.mean,
        basis.basis,
        error_variance.astype(np.float32),
    )


def _estimating_view(
    cube: SpectralCube, bands: NDArray[np.intp], grid: Wavelengths, basis: MinimumNoiseFraction
) -> CrossSensorMapping:
    """A camera with fewer bands than the grid: it does not show what lies between them.

    That is estimated from what usually goes together, as far as it can be.
    """
    fwhm = None if cube.fwhm is None else cube.fwhm[bands]
    narrow, wide = _filters(grid, cube.require_wavelengths()[bands], fwhm)
    half = np.float32(0.5)
    expected = half * (narrow + wide)
    gain, error_variance = basis.estimator(expected, half * (wide - narrow))
    return CrossSensorMapping(bands, None, basis.mean @ expected, gain, error_variance)


def _comparable(wavelengths: Wavelengths, grid: Wavelengths) -> NDArray[np.intp]:
    """Bands inside the grid's range, or as near to it as its widest step, by wavelength.

    Raises:
        WavelengthError: they span less than a third of the range.
    """
    low, high = grid[0], grid[-1]
    margin = _widest_step(grid)
    kept = np.flatnonzero((wavelengths >= low - margin) & (wavelengths <= high + margin))
    spanned = np.ptp(wavelengths[kept]) if kept.size else 0.0
    if kept.size == 0 or spanned < _LEAST_SPANNED * (high - low):
        raise WavelengthError(
            f"This cube has bands from {wavelengths.min():.0f} to {wavelengths.max():.0f} nm, but "
            f"the classes were learned from {low:.0f} to {high:.0f} nm: use a camera that covers "
            "at least a third of it, or learn from strokes on this cube."
        )
    return kept[np.argsort(wavelengths[kept], kind="stable")]


def _covers(wavelengths: Wavelengths, grid: Wavelengths) -> bool:
    """Whether there are as many bands as grid points, up to both ends of the grid."""
    margin = _widest_step(grid)
    ends = wavelengths[0] - grid[0] <= margin and grid[-1] - wavelengths[-1] <= margin
    return bool(wavelengths.size >= grid.size and ends)


def _filters(
    seen: Wavelengths, centres: Wavelengths, fwhm: NDArray[np.float64] | None
) -> tuple[Float32Array, Float32Array]:
    """The narrowest and the widest filters, (G, C) each, that a camera's bands may have.

    Args:
        seen: (G,) wavelengths of the spectra, increasing.
        centres: (C,) of the bands, increasing.
        fwhm: (C,) stated widths, or None: between points and as wide as the bands lie apart.
    """
    step = np.full(centres.size, _widest_step(seen))
    if fwhm is not None:
        stated = np.maximum(fwhm, step)
        narrow = filter_matrix(seen, centres, stated / _TOLERANCE)
        return narrow, filter_matrix(seen, centres, stated * _TOLERANCE)
    spacing = np.median(np.diff(centres)) if centres.size > 1 else 0.0
    wide = filter_matrix(seen, centres, np.maximum(spacing, 2 * step))
    return interpolation_matrix(seen, centres), wide


def _widest_step(wavelengths: Wavelengths) -> float:
    return float(np.max(np.diff(wavelengths), initial=1.0))
