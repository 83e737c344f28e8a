"""The filter bank: each pixel's own spectrum, and its neighbourhood at several scales.

Spectra are compared as optical densities on a fixed grid of wavelengths, reduced to their principal
components. For every component the mean and the spread in Gaussian neighbourhoods say what the
tissue around a pixel looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.learning.features import FeatureMap
from carl.learning.spectral_basis import SpectralBasis
from carl.progress import Progress, no_progress, part
from carl.spectra.normalise import row_blocks, sample_spectra, white_level
from carl.spectra.resample import resampling_matrix, wavelength_grid

FloatArray = NDArray[np.float32]

N_COMPONENTS = 8
SIGMAS = (1.5, 3.0, 6.0, 12.0, 20.0)
_SHORTEST_SIDE = 20
"""A neighbourhood says where a pixel lies, not what it is, once σ passes this share of the side."""
_FINEST = 3.0
"""Neighbourhoods wider than this σ, in cells, are computed and kept on coarser cells."""
_DARK = 0.02
"""Added to values relative to white before the logarithm: below it a camera sees only noise."""
_SAMPLE = 20_000
_RELIABLE = 0.8
"""Share of a component's variance that a camera with other bands has to reach."""
_LEAST_SPANNED = 1 / 3


@dataclass(frozen=True, eq=False)
class FilterBank:
    """A basis of spectra and the scales of neighbourhoods, fixed when fitted to cubes.

    Attributes:
        grid: (G,) wavelengths in nm at which spectra are compared.
        spectra: components of the optical densities on the grid.
        sigmas: of the Gaussian neighbourhoods, in pixels.
    """

    grid: NDArray[np.float64]
    spectra: SpectralBasis
    sigmas: tuple[float, ...]

    @classmethod
    def fit(cls, cubes: list[SpectralCube]) -> Self:
        """The bank that suits these cubes, labels unseen.

        Raises:
            WavelengthError: wavelengths are missing, or the cubes share no range.
            CubeError: a cube has no usable values.
        """
        usable = [cube.usable_bands() for cube in cubes]
        grid = wavelength_grid([cube.require_wavelengths() for cube in usable])
        samples = [_sample_densities(cube, grid, _SAMPLE // len(usable)) for cube in usable]
        basis = SpectralBasis.fit(
            *(np.concatenate(each) for each in zip(*samples, strict=True)), N_COMPONENTS
        )
        side = min(min(cube.shape[:2]) for cube in usable)
        sigmas = tuple(s for s in SIGMAS if s * _SHORTEST_SIDE <= side) or SIGMAS[:1]
        return cls(grid, basis, sigmas)

    def maps(
        self, cube: SpectralCube, progress: Progress = no_progress
    ) -> tuple[tuple[FeatureMap, ...], NDArray[np.bool_] | None]:
        """Feature groups of a cube, and where it has data (None: everywhere).

        Raises:
            WavelengthError: the cube does not cover the grid.
            CubeError: the cube has no usable values.
        """
        cube = cube.usable_bands()
        view = self._view(cube.require_wavelengths())
        components, valid = _components(cube, view, part(progress, 0.0, 0.3))
        groups = [FeatureMap("spectrum", components, 1, view.reliable)]
        for i, sigma in enumerate(self.sigmas):
            progress(0.3 + 0.7 * i / len(self.sigmas), "Looking at neighbourhoods")
            groups.append(_neighbourhood(components, valid, sigma, view.reliable))
        return tuple(groups), valid

    def _view(self, wavelengths: NDArray[np.float64]) -> _CameraView:
        """How the spectra of a camera become components.

        A camera with fewer bands than the grid does not show what lies between them: it is
        estimated from what usually goes together, as far as that can be trusted.
        """
        kept = self._comparable(wavelengths)
        nm = wavelengths[kept]
        if _covers(nm, self.grid):
            matrix = resampling_matrix(nm, self.grid)
            return _CameraView(kept, matrix, self.spectra.mean, self.spectra.basis, None)
        observation = resampling_matrix(self.grid, nm)
        gain, reached = self.spectra.estimator(observation)
        reliable = reached >= min(_RELIABLE, float(reached.max()))
        return _CameraView(kept, None, self.spectra.mean @ observation, gain, reliable)

    def _comparable(self, wavelengths: NDArray[np.float64]) -> NDArray[np.intp]:
        """Indices of the bands inside the grid's range, or as near to it as its widest step.

        Raises:
            WavelengthError: they span less than a third of the range.
        """
        low, high = self.grid[0], self.grid[-1]
        margin = np.max(np.diff(self.grid), initial=1.0)
        kept = np.flatnonzero((wavelengths >= low - margin) & (wavelengths <= high + margin))
        spanned = np.ptp(wavelengths[kept]) if kept.size else 0.0
        if kept.size == 0 or spanned < _LEAST_SPANNED * (high - low):
            raise WavelengthError(
                f"This cube has bands from {wavelengths.min():.0f} to {wavelengths.max():.0f} nm, "
                f"but the classes were learned from {low:.0f} to {high:.0f} nm: use a camera that "
                "covers at least a third of it, or learn from strokes on this cube."
            )
        return kept


def _covers(wavelengths: NDArray[np.float64], grid: NDArray[np.float64]) -> bool:
    """Whether there are as many bands as grid points, up to both ends of the grid."""
    margin = np.max(np.diff(grid), initial=1.0)
    ends = wavelengths.min() - grid[0] <= margin and grid[-1] - wavelengths.max() <= margin
    return bool(len(wavelengths) >= len(grid) and ends)


@dataclass(frozen=True, eq=False)
class _CameraView:
    """From a camera's spectra to components.

    Attributes:
        bands: indices of the bands to use.
        to_grid: (C, G) from these bands to the grid, or None to stay with the bands.
        mean: of the densities.
        basis: from centred densities to (k,) components.
        reliable: (k,) which components the camera shows well enough; None for all.
    """

    bands: NDArray[np.intp]
    to_grid: FloatArray | None
    mean: FloatArray
    basis: FloatArray
    reliable: NDArray[np.bool_] | None

    def components(self, spectra: FloatArray, white: float) -> FloatArray:
        """(..., C) spectra to (..., k)."""
        values = spectra[..., self.bands]
        density = _density(values if self.to_grid is None else values @ self.to_grid, white)
        return np.asarray((density - self.mean) @ self.basis)


def _components(
    cube: SpectralCube, view: _CameraView, progress: Progress
) -> tuple[FloatArray, NDArray[np.bool_] | None]:
    """(H, W, k) components of every pixel, 0 where there is no data, and where there is."""
    white = white_level(cube)
    components = np.empty((*cube.shape[:2], view.basis.shape[1]), np.float32)
    valid = np.ones(cube.shape[:2], bool)
    blocks = row_blocks(cube)
    for i, rows in enumerate(blocks):
        spectra = cube.read(rows)
        valid[rows] = np.isfinite(spectra).all(axis=2)
        components[rows] = view.components(spectra, white)
        progress((i + 1) / len(blocks), "Reading spectra")
    components[~valid] = 0
    return components, None if valid.all() else valid


def _sample_densities(
    cube: SpectralCube, grid: NDArray[np.float64], n: int
) -> tuple[FloatArray, FloatArray]:
    """(n, G) optical densities of pixels spread over a cube, and differences to their neighbours."""
    white = white_level(cube)
    matrix = resampling_matrix(cube.require_wavelengths(), grid)
    here, beside = sample_spectra(cube, n)
    here, beside = (_density(each @ matrix, white) for each in (here, beside))
    return here, beside - here


def _density(values: FloatArray, white: float) -> FloatArray:
    """Optical density −ln(value / white), bounded where a camera sees only noise."""
    return np.asarray(-np.log(np.maximum(values / white, 0) + _DARK), np.float32)


def _neighbourhood(
    components: FloatArray,
    valid: NDArray[np.bool_] | None,
    sigma: float,
    reliable: NDArray[np.bool_] | None,
) -> FeatureMap:
    """Mean and standard deviation of every component under a Gaussian, over pixels with data.

    Wide Gaussians are computed on cells of several pixels; what averaging over a cell adds to the
    variance of the Gaussian is taken off its σ.
    """
    cell = max(1, int(sigma / _FINEST))
    inner = np.sqrt(sigma**2 - (cell**2 - 1) / 12) / cell
    first = _smooth(_cell_means(components, cell), inner)
    second = _smooth(_cell_means(components**2, cell), inner)
    if valid is not None:
        share = _smooth(_cell_means(valid[..., None].astype(np.float32), cell), inner)
        first /= np.maximum(share, 1e-3)
        second /= np.maximum(share, 1e-3)
    spread = np.sqrt(np.maximum(second - first**2, 0))
    both = None if reliable is None else np.tile(reliable, 2)
    return FeatureMap(f"texture {sigma:g} px", np.concatenate([first, spread], axis=2), cell, both)


def _cell_means(values: FloatArray, cell: int) -> FloatArray:
    """Means over squares of `cell` pixels; the border is mirrored to fill the last ones."""
    if cell == 1:
        return values
    height, width, depth = values.shape
    padding = ((0, -height % cell), (0, -width % cell), (0, 0))
    padded = np.pad(values, padding, mode="symmetric")
    h, w = padded.shape[0] // cell, padded.shape[1] // cell
    return np.asarray(padded.reshape(h, cell, w, cell, depth).mean(axis=(1, 3)), np.float32)


def _smooth(values: FloatArray, sigma: float) -> FloatArray:
    return np.asarray(ndimage.gaussian_filter(values, (sigma, sigma, 0), truncate=3))
