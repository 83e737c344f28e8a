"""Filter bank: the spectrum of each pixel, and Gaussian-weighted statistics of its neighbourhood.

Spectra are converted to optical density, resampled to a fixed wavelength grid and reduced by a
minimum noise fraction transform. The mean and the standard deviation of every component in Gaussian
neighbourhoods of several widths describe the texture around a pixel. For the camera that the bank
was fitted to, `SpectralViews` adds the spectrum of the pixel in other normalisations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.learning.cross_sensor import CrossSensorMapping, cross_sensor_mapping
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.principal_components import MinimumNoiseFraction
from carl.learning.spectral_views import VIEWS, SpectralViews
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.normalise import fill_missing, optical_density, sample_spectra, white_level
from carl.spectra.resample import resampling_matrix, wavelength_grid

N_COMPONENTS = 8
"""Components of a spectrum; further ones of tissue and land scenes are mostly noise."""
SIGMAS = (1.5, 3.0, 6.0, 12.0, 20.0)
"""Standard deviations of the Gaussian neighbourhoods, in pixels."""
SHORTEST_SIDE = 20
"""Least side of a cube in units of σ. In a smaller cube a neighbourhood encodes the position of a
pixel rather than its texture."""
_FINEST_SIGMA = 3.0
"""Cells: neighbourhoods with a larger σ are computed and stored on coarser cells."""
_LARGEST_SIGMA = 1000.0
"""Largest σ that is read from a file, in pixels; one above every image would take its square."""
_TRUNCATE = 3
"""Radius of the Gaussian kernels in units of σ."""
_LEAST_WEIGHT = 1e-3
"""Least share of a neighbourhood with data that its mean is divided by."""
_SAMPLE = 20_000
"""Pixels that the transform, and the mean and spread of every feature, are estimated from."""

MakeStack = Callable[["FilterBank", SpectralCube, Progress], FeatureStack]
"""Computes the features of a cube, in memory or on disk."""


class PixelComponents(NamedTuple):
    """Components of the spectra of a rectangle of pixels.

    Attributes:
        values: (h, w, k) components and those of the views, 0 where there is no data.
        valid: (h, w) True where there is data; None for everywhere.
    """

    values: Float32Array
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class ComponentReader:
    """Reads a cube as components of its spectra.

    Attributes:
        cube: without bad bands.
        mapping: from the spectra of this camera to components.
        white: value of the cube that counts as white.
        views: of the spectra; None for another camera than that the bank was fitted to.
    """

    cube: SpectralCube
    mapping: CrossSensorMapping
    white: float
    views: SpectralViews | None = None

    @property
    def n_components(self) -> int:
        """Number of components of a pixel, with those of the views."""
        views = 0 if self.views is None else sum(self.views.widths.values())
        return int(self.mapping.basis.shape[1]) + views

    def read(self, rows: slice, progress: Progress = no_progress) -> PixelComponents:
        """Read rows of pixels, block by block, and return their components."""
        top, bottom, _ = rows.indices(self.cube.shape[0])
        values = np.empty((bottom - top, self.cube.shape[1], self.n_components), np.float32)
        valid = np.ones(values.shape[:2], bool)
        step = self.cube.row_blocks()[0].stop
        for start in range(top, bottom, step):
            stop = min(start + step, bottom)
            spectra = self.cube.read(slice(start, stop))
            here = slice(start - top, stop - top)
            valid[here] = np.isfinite(spectra).any(axis=2)
            fill_missing(spectra, self.cube.require_wavelengths())
            n_own = self.mapping.basis.shape[1]
            values[here, :, :n_own] = self.mapping.components(spectra, self.white)
            if self.views is not None:
                values[here, :, n_own:] = self.views(spectra[..., self.mapping.bands], self.white)
            progress((stop - top) / (bottom - top), "Reading spectra")
        values[~valid] = 0
        return PixelComponents(values, None if valid.all() else valid)


@dataclass(frozen=True, eq=False)
class FilterBank:
    """A spectral transform and the scales of neighbourhoods, fitted to cubes without labels.

    Attributes:
        grid: (G,) wavelengths in nm at which spectra are compared.
        spectra: minimum noise fraction transform of the optical densities on the grid.
        sigmas: (S,) of the Gaussian neighbourhoods, in pixels.
        centre: (p,) mean of every feature over the cubes.
        scale: (p,) factor of every feature after centring.
        views: other normalisations of the spectra on the grid; None in files of earlier versions.
    """

    grid: Float64Array
    spectra: MinimumNoiseFraction
    sigmas: Float32Array
    centre: Float32Array
    scale: Float32Array
    views: SpectralViews | None = None

    @classmethod
    def fit(
        cls,
        cubes: Sequence[SpectralCube],
        make_stack: MakeStack | None = None,
        progress: Progress = no_progress,
    ) -> tuple[Self, list[FeatureStack]]:
        """Fit the bank to cubes and return it with their features.

        Args:
            cubes: with known wavelengths.
            make_stack: computes the features of a cube; by default `stack`, in memory.
            progress: called often; cancels by raising.

        Raises:
            WavelengthError: wavelengths are missing, or the cubes share no range.
            CubeError: a cube has no usable values.
        """
        make_stack = make_stack or cls.stack
        usable = [cube.usable_bands() for cube in cubes]
        grid = wavelength_grid([cube.require_wavelengths() for cube in usable])
        samples = [_sample_spectra(cube, grid, _SAMPLE // len(usable)) for cube in usable]
        here, densities, differences = (np.concatenate(each) for each in zip(*samples, strict=True))
        spectra = MinimumNoiseFraction.fit(densities, differences, N_COMPONENTS)
        views = SpectralViews.fit(here, densities)
        side = min(min(cube.shape[:2]) for cube in usable)
        sigmas = np.array([s for s in SIGMAS if s * SHORTEST_SIDE <= side] or SIGMAS[:1])
        n_features = spectra.n_components * (1 + 2 * sigmas.size)
        neutral = np.zeros(n_features, np.float32), np.ones(n_features, np.float32)
        plain = cls(grid, spectra, sigmas.astype(np.float32), *neutral, views)
        stacks = [
            make_stack(plain, cube, subprogress(progress, i / len(usable), (i + 1) / len(usable)))
            for i, cube in enumerate(usable)
        ]
        sampled = np.concatenate([_sampled(each, _SAMPLE // len(stacks)) for each in stacks])
        sample = sampled[:, :n_features]  # the views need no centre and scale
        scale = _texture_scale(stacks[0], sample.std(axis=0))
        bank = replace(plain, centre=sample.mean(axis=0), scale=scale)
        return bank, [bank.normalised(each) for each in stacks]

    def stack(self, cube: SpectralCube, progress: Progress = no_progress) -> FeatureStack:
        """Compute the features of a cube in memory.

        Raises:
            WavelengthError: the cube does not cover the grid.
            CubeError: the cube has no usable values.
        """
        reader = self.reader(cube)
        pixels = reader.read(slice(None), subprogress(progress, 0.0, 0.3))
        return self.stack_of(pixels, reader.mapping.error_variance, subprogress(progress, 0.3, 1.0))

    def reader(self, cube: SpectralCube) -> ComponentReader:
        """Return a reader of the components of a cube.

        Raises:
            WavelengthError, CubeError: as `stack`.
        """
        cube = cube.usable_bands()
        mapping = cross_sensor_mapping(cube, self.grid, self.spectra)
        views = self.views if mapping.is_same_camera else None
        return ComponentReader(cube, mapping, white_level(cube), views)

    def stack_of(
        self,
        pixels: PixelComponents,
        error_variance: Float32Array | None,
        progress: Progress = no_progress,
    ) -> FeatureStack:
        """Compute the features of a rectangle of pixels, as if it were a whole cube.

        The components may have a relative error variance, (k,).
        """
        n_own = self.spectra.n_components
        own = np.ascontiguousarray(pixels.values[..., :n_own])
        groups = [FeatureMap("spectrum", own, 1, error_variance)]
        for i, sigma in enumerate(self.sigmas.tolist()):
            progress(i / self.sigmas.size, "Computing texture")
            groups.append(_neighbourhood(own, pixels.valid, sigma, error_variance))
        if self.views is not None and pixels.values.shape[2] > n_own:
            groups += _view_maps(self.views, pixels.values[..., n_own:])
        height, width, _ = pixels.values.shape
        return self.normalised(FeatureStack((height, width), tuple(groups), pixels.valid))

    def normalised(self, stack: FeatureStack) -> FeatureStack:
        """Centre and scale the features: in memory in place, on disk when they are read."""
        if not self.centre.any() and (self.scale == 1).all():
            return stack
        columns = stack.columns()
        maps = []
        for group in stack.maps:
            if group.name in VIEWS:
                maps.append(group)
                continue
            centre, scale = self.centre[columns[group.name]], self.scale[columns[group.name]]
            if group.values.flags.writeable:
                values = group.values
                values -= centre
                values *= scale
                maps.append(group)
            else:
                maps.append(replace(group, centre=centre, scale=scale))
        return replace(stack, maps=tuple(maps))

    def check(self) -> None:
        """Check a bank that was read from a file, whose arrays fit each other.

        Raises:
            ValueError: the wavelengths, the neighbourhoods or the number of features are those of
                no bank.
        """
        for name, values in (("grid", self.grid), ("sigmas", self.sigmas)):
            if values[0] <= 0 or np.any(np.diff(values) <= 0):
                raise ValueError(f"{name} is not positive and increasing")
        if self.sigmas[-1] > _LARGEST_SIGMA or self.centre.size != sum(self.widths):
            raise ValueError(f"{self.centre.size} features of neighbourhoods {self.sigmas}")

    @property
    def cells(self) -> tuple[int, ...]:
        """Pixels along a side of the cells of every feature group but the views."""
        return (1, *(_cell(sigma)[0] for sigma in self.sigmas.tolist()))

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of features of every group but the views."""
        return (self.spectra.n_components, *[2 * self.spectra.n_components] * self.sigmas.size)

    @property
    def reach(self) -> int:
        """Distance in pixels up to which other pixels influence the features of a pixel."""
        cells = (_cell(sigma) for sigma in self.sigmas.tolist())
        # One cell more for the interpolation between cells.
        return max(cell * (int(_TRUNCATE * inner + 0.5) + 1) for cell, inner in cells)

    def layout(self, with_views: bool) -> list[tuple[int, int]]:
        """Return the cell and the number of features of every group, with the views at the end."""
        groups = list(zip(self.cells, self.widths, strict=True))
        if self.views is not None and with_views:
            groups += [(1, width) for width in self.views.widths.values()]
        return groups

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Return the size in bytes of the features of a cube of (height, width, …) pixels."""
        groups = self.layout(with_views=True)
        return sum(4 * width * -(-shape[0] // c) * -(-shape[1] // c) for c, width in groups)


def _sampled(stack: FeatureStack, n: int) -> Float32Array:
    """Return the features of n pixels drawn evenly from those with data."""
    pixels = np.arange(stack.shape[0] * stack.shape[1])
    if stack.valid is not None:
        pixels = pixels[stack.valid.ravel()]
    drawn = np.random.default_rng(0).choice(pixels, min(len(pixels), max(1, n)), replace=False)
    return stack.at(*np.divmod(drawn, stack.shape[1]))


def _texture_scale(stack: FeatureStack, spread: Float32Array) -> Float32Array:
    """Return (p,) factors that give texture features the spreads of the pixels' own components.

    The transform gives later components smaller spreads, which weights them. The spreads of texture
    features depend on σ as well, so they are set to those of the components.
    """
    columns = stack.columns()
    own = spread[columns["spectrum"]]
    scale = np.ones_like(spread)
    for name, where in columns.items():
        if name != "spectrum" and name not in VIEWS:
            scale[where] = np.tile(own, 2) / np.where(spread[where] > 0, spread[where], 1)
    return scale


def _sample_spectra(
    cube: SpectralCube, grid: Float64Array, n: int
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Sample pixels: (n, G) spectra, densities, and differences of these to neighbours."""
    white = white_level(cube)
    matrix = resampling_matrix(cube.require_wavelengths(), grid)
    here, beside = (each @ matrix for each in sample_spectra(cube, n))
    if len(here) < 2:
        raise CubeError(f"{cube.name} has one pixel with data: a segmentation needs several.")
    densities = optical_density(here, white)
    return here, densities, optical_density(beside, white) - densities


def _view_maps(views: SpectralViews, components: Float32Array) -> list[FeatureMap]:
    """Return the views of the pixels, (h, w, …), as feature groups."""
    ends = np.cumsum(list(views.widths.values()))[:-1]
    parts = np.split(components, ends, axis=2)
    return [
        FeatureMap(name, np.ascontiguousarray(values), 1)
        for name, values in zip(views.widths, parts, strict=True)
    ]


def _neighbourhood(
    components: Float32Array,
    valid: NDArray[np.bool_] | None,
    sigma: float,
    error_variance: Float32Array | None,
) -> FeatureMap:
    """Compute the mean and standard deviation of every component under a Gaussian.

    With weights g and data mask m: mean = Σ g m x / Σ g m, variance = Σ g m x² / Σ g m − mean².
    Wide Gaussians are computed on cells of several pixels.
    """
    cell, inner = _cell(sigma)
    mask = np.ones(components.shape[:2], bool) if valid is None else valid
    weight = _smoothed(mask[..., None].astype(np.float32), cell, inner)
    weight = np.maximum(weight, _LEAST_WEIGHT)
    mean = _smoothed(components, cell, inner) / weight
    second = _smoothed(components**2, cell, inner) / weight
    spread = np.sqrt(np.maximum(second - mean**2, 0))
    both = None if error_variance is None else np.tile(error_variance, 2)
    return FeatureMap(f"texture {sigma:g} px", np.concatenate([mean, spread], axis=2), cell, both)


def _cell(sigma: float) -> tuple[int, float]:
    """Return the side c in pixels of the cells a Gaussian is computed on, and its σ in cells.

    Averaging over a cell adds a variance of (c² − 1) / 12, which is subtracted from σ².
    """
    cell = max(1, int(sigma / _FINEST_SIGMA))
    return cell, float(np.sqrt(sigma**2 - (cell**2 - 1) / 12) / cell)


def _smoothed(values: Float32Array, cell: int, sigma: float) -> Float32Array:
    """Average (H, W, d) values over cells, then apply a Gaussian with zeros outside the image.

    Values are 0 where there is no data; sigma is in cells.
    """
    height, width, depth = values.shape
    padded = np.pad(values, ((0, -height % cell), (0, -width % cell), (0, 0)))
    h, w = padded.shape[0] // cell, padded.shape[1] // cell
    means = padded.reshape(h, cell, w, cell, depth).mean(axis=(1, 3), dtype=np.float32)
    smooth = ndimage.gaussian_filter(means, (sigma, sigma, 0), mode="constant", truncate=_TRUNCATE)
    return np.asarray(smooth)
