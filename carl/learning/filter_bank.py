"""The filter bank: each pixel's own spectrum, and its neighbourhood at several scales.

Spectra are compared as optical densities on a fixed grid of wavelengths, reduced to their principal
components. For every component the mean and the spread in Gaussian neighbourhoods say what the
tissue around a pixel looks like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.learning.component_reader import ComponentReader, PixelComponents
from carl.learning.cross_sensor import cross_sensor_mapping
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.minimum_noise_fraction import MinimumNoiseFraction
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.normalise import optical_density, sample_spectra, white_level
from carl.spectra.resample import resampling_matrix, wavelength_grid

N_COMPONENTS = 8
SIGMAS = (1.5, 3.0, 6.0, 12.0, 20.0)
SHORTEST_SIDE = 20
"""A neighbourhood says where a pixel lies, not what it is, once σ passes this share of the side."""
_FINEST = 3.0
"""Neighbourhoods wider than this σ, in cells, are computed and kept on coarser cells."""
_TRUNCATE = 3
"""σ beyond which a Gaussian counts as 0."""
_LEAST_SHARE = 1e-3
_SAMPLE = 20_000


@dataclass(frozen=True, eq=False)
class FilterBank:
    """A basis of spectra and the scales of neighbourhoods, fixed when fitted to cubes.

    Attributes:
        grid: (G,) wavelengths in nm at which spectra are compared.
        spectra: components of the optical densities on the grid.
        sigmas: (S,) of the Gaussian neighbourhoods, in pixels.
        centre: (p,) mean of every feature over the cubes.
        scale: (p,) what every feature is multiplied by after that.
    """

    grid: NDArray[np.float64]
    spectra: MinimumNoiseFraction
    sigmas: Float32Array
    centre: Float32Array
    scale: Float32Array

    @classmethod
    def fit(
        cls, cubes: Sequence[SpectralCube], progress: Progress = no_progress
    ) -> tuple[Self, list[FeatureStack]]:
        """The bank that suits these cubes, labels unseen, and what it says of them.

        Raises:
            WavelengthError: wavelengths are missing, or the cubes share no range.
            CubeError: a cube has no usable values.
        """
        usable = [cube.usable_bands() for cube in cubes]
        grid = wavelength_grid([cube.require_wavelengths() for cube in usable])
        samples = [_sample_densities(cube, grid, _SAMPLE // len(usable)) for cube in usable]
        here, differences = (np.concatenate(each) for each in zip(*samples, strict=True))
        basis = MinimumNoiseFraction.fit(here, differences, N_COMPONENTS)
        side = min(min(cube.shape[:2]) for cube in usable)
        sigmas = [s for s in SIGMAS if s * SHORTEST_SIDE <= side] or SIGMAS[:1]
        widths = np.array(sigmas, np.float32)
        stacks = [
            _groups(
                cube,
                grid,
                basis,
                widths,
                subprogress(progress, i / len(usable), (i + 1) / len(usable)),
            )
            for i, cube in enumerate(usable)
        ]
        sample = np.concatenate([_sampled(each, _SAMPLE // len(stacks)) for each in stacks])
        scale = _scale(stacks[0], sample.std(axis=0))
        bank = cls(grid, basis, widths, sample.mean(axis=0), scale)
        return bank, [bank._scaled(each) for each in stacks]

    def stack(self, cube: SpectralCube, progress: Progress = no_progress) -> FeatureStack:
        """The feature groups of a cube.

        Raises:
            WavelengthError: the cube does not cover the grid.
            CubeError: the cube has no usable values.
        """
        cube = cube.usable_bands()
        return self._scaled(_groups(cube, self.grid, self.spectra, self.sigmas, progress))

    def reader(self, cube: SpectralCube) -> ComponentReader:
        """What `stack_of` takes, of a cube that is looked at rectangle by rectangle.

        Raises:
            WavelengthError, CubeError: as `stack`.
        """
        return _reader(cube.usable_bands(), self.grid, self.spectra)

    def stack_of(
        self,
        pixels: PixelComponents,
        error_variance: Float32Array | None,
        progress: Progress = no_progress,
    ) -> FeatureStack:
        """The feature groups of a rectangle of pixels, as if nothing were around it.

        Args:
            pixels: of the rectangle.
            error_variance: of the camera's view.
            progress: told often; cancels by raising.
        """
        return self._scaled(_surroundings(pixels, self.sigmas, error_variance, progress))

    @property
    def cells(self) -> tuple[int, ...]:
        """Pixels along a side of the cells of every neighbourhood."""
        return tuple(_cell(sigma)[0] for sigma in self.sigmas.tolist())

    @property
    def reach(self) -> int:
        """How far away, in pixels, the pixels are that a feature may depend on."""
        cells = (_cell(sigma) for sigma in self.sigmas.tolist())
        # One cell more for the interpolation between cells.
        return max(cell * (int(_TRUNCATE * inner + 0.5) + 1) for cell, inner in cells)

    def _scaled(self, stack: FeatureStack) -> FeatureStack:
        """The stack centred and scaled, in place: features are large."""
        for group, columns in zip(stack.maps, stack.columns().values(), strict=True):
            values = group.values
            values -= self.centre[columns]
            values *= self.scale[columns]
        return stack


def _groups(
    cube: SpectralCube,
    grid: NDArray[np.float64],
    basis: MinimumNoiseFraction,
    sigmas: Float32Array,
    progress: Progress,
) -> FeatureStack:
    """The feature groups of a cube without bad bands, as they come."""
    reader = _reader(cube, grid, basis)
    pixels = reader.read(slice(None), subprogress(progress, 0.0, 0.3))
    return _surroundings(
        pixels, sigmas, reader.view.error_variance, subprogress(progress, 0.3, 1.0)
    )


def _reader(
    cube: SpectralCube, grid: NDArray[np.float64], basis: MinimumNoiseFraction
) -> ComponentReader:
    """Reads a cube without bad bands as its camera sees it."""
    return ComponentReader(cube, cross_sensor_mapping(cube, grid, basis), white_level(cube))


def _surroundings(
    pixels: PixelComponents,
    sigmas: Float32Array,
    error_variance: Float32Array | None,
    progress: Progress,
) -> FeatureStack:
    """The feature groups of a rectangle of pixels, as they come."""
    groups = [FeatureMap("spectrum", pixels.values, 1, error_variance)]
    for i, sigma in enumerate(sigmas.tolist()):
        progress(i / len(sigmas), "Looking at neighbourhoods")
        groups.append(_neighbourhood(pixels.values, pixels.valid, sigma, error_variance))
    height, width, _ = pixels.values.shape
    return FeatureStack((height, width), tuple(groups), pixels.valid)


def _sampled(stack: FeatureStack, n: int) -> Float32Array:
    """Features of n pixels drawn evenly from where there is data."""
    pixels = np.arange(stack.shape[0] * stack.shape[1])
    if stack.valid is not None:
        pixels = pixels[stack.valid.ravel()]
    drawn = np.random.default_rng(0).choice(pixels, min(len(pixels), max(1, n)), replace=False)
    return stack.at(*np.divmod(drawn, stack.shape[1]))


def _scale(stack: FeatureStack, spread: Float32Array) -> Float32Array:
    """(p,) factors that give neighbourhoods the spreads of the pixels' own components.

    Components come with later ones made smaller; their neighbourhoods, whose spreads depend on the
    scale, are brought to the same.
    """
    columns = stack.columns()
    own = spread[columns["spectrum"]]
    scale = np.ones_like(spread)
    for name, where in columns.items():
        if name != "spectrum":
            scale[where] = np.tile(own, 2) / np.where(spread[where] > 0, spread[where], 1)
    return scale


def _sample_densities(
    cube: SpectralCube, grid: NDArray[np.float64], n: int
) -> tuple[Float32Array, Float32Array]:
    """(n, G) optical densities of sampled pixels, and the differences to their neighbours."""
    white = white_level(cube)
    matrix = resampling_matrix(cube.require_wavelengths(), grid)
    here, beside = sample_spectra(cube, n)
    here, beside = (optical_density(each @ matrix, white) for each in (here, beside))
    return here, beside - here


def _neighbourhood(
    components: Float32Array,
    valid: NDArray[np.bool_] | None,
    sigma: float,
    error_variance: Float32Array | None,
) -> FeatureMap:
    """Mean and standard deviation of every component under a Gaussian, over pixels with data.

    At the border, too, only the pixels that are there count. Wide Gaussians are computed on cells
    of several pixels; what averaging over a cell adds to their variance is taken off their σ.
    """
    cell, inner = _cell(sigma)
    there = np.ones(components.shape[:2], bool) if valid is None else valid
    share = _sums(there[..., None].astype(np.float32), cell, inner)
    share = np.maximum(share, _LEAST_SHARE)
    first = _sums(components, cell, inner) / share
    second = _sums(components**2, cell, inner) / share
    spread = np.sqrt(np.maximum(second - first**2, 0))
    both = None if error_variance is None else np.tile(error_variance, 2)
    return FeatureMap(f"texture {sigma:g} px", np.concatenate([first, spread], axis=2), cell, both)


def _cell(sigma: float) -> tuple[int, float]:
    """Side of the cells that a Gaussian is computed on, pixels, and its σ in cells."""
    cell = max(1, int(sigma / _FINEST))
    return cell, float(np.sqrt(sigma**2 - (cell**2 - 1) / 12) / cell)


def _sums(values: Float32Array, cell: int, sigma: float) -> Float32Array:
    """Gaussian-weighted means over cells, nothing being outside the image.

    Args:
        values: (H, W, d), 0 where there is no data.
        cell: pixels along a side of a cell.
        sigma: of the Gaussian, in cells.
    """
    height, width, depth = values.shape
    padded = np.pad(values, ((0, -height % cell), (0, -width % cell), (0, 0)))
    h, w = padded.shape[0] // cell, padded.shape[1] // cell
    means = padded.reshape(h, cell, w, cell, depth).mean(axis=(1, 3), dtype=np.float32)
    smooth = ndimage.gaussian_filter(means, (sigma, sigma, 0), mode="constant", truncate=_TRUNCATE)
    return np.asarray(smooth)
