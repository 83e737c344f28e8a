"""Other recordings of the scene of a cube: by another camera, in other light, at another scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from cases import Labels

from carl.cube import SpectralCube
from carl.simulation import gaussian_camera, simulate
from carl.simulation.camera import band_spacing
from carl.spectra.normalise import white_level

FILTER_WIDTH = 1.5
"""Width (FWHM) of the other filters, as a multiple of the distance between the cube's bands."""
GAIN = 0.2
"""Largest relative change of a band's gain."""
COARSENING = 3
"""Side in pixels of the blocks that a coarser camera averages."""
HAZE, HAZE_EXPONENT = 0.1, -1.3
"""Haze at the shortest wavelength, relative to white, and the power of wavelength that it falls
with: the Ångström exponent of a typical aerosol."""
SHADE = 0.6
"""Light at the left edge, relative to that at the right edge."""
FULL_SCALE = 10_000
"""Count of white."""


def other_filters(cube: SpectralCube) -> SpectralCube:
    """Return the cube with half of its bands, each with a Gaussian filter."""
    nm = np.unique(cube.require_wavelengths())
    spacing = np.minimum(band_spacing(nm), np.median(band_spacing(nm)))
    chosen = np.linspace(0, nm.size - 1, (nm.size + 1) // 2).round().astype(int)
    simulated = simulate(cube, gaussian_camera(nm[chosen], FILTER_WIDTH * spacing[chosen]))
    return replace(simulated, data=simulated.to_numpy())


def gain_per_band(cube: SpectralCube) -> SpectralCube:
    """Return the cube with a random gain of each band."""
    gain = np.random.default_rng(0).uniform(1 - GAIN, 1 + GAIN, cube.n_bands)
    return _with_pixels(cube, cube.to_numpy() * gain)


def coarser(cube: SpectralCube) -> SpectralCube:
    """Return the cube with blocks of pixels averaged; incomplete ones at the edges are cut off."""
    return _with_pixels(cube, _blocks(cube.to_numpy(), COARSENING).mean(axis=(1, 3)))


def haze(cube: SpectralCube) -> SpectralCube:
    """Return the cube with light added, more at short wavelengths."""
    nm = cube.require_wavelengths()
    added = HAZE * white_level(cube) * (nm / nm.min()) ** HAZE_EXPONENT
    return _with_pixels(cube, cube.to_numpy() + added)


def illumination_gradient(cube: SpectralCube) -> SpectralCube:
    """Return the cube with less light at the left than at the right."""
    return _with_pixels(cube, cube.to_numpy() * np.linspace(SHADE, 1, cube.shape[1])[:, None])


def counts(cube: SpectralCube) -> SpectralCube:
    """Return the cube as unsigned integers, white at a count of 10 000."""
    values = np.nan_to_num(cube.to_numpy()) * (FULL_SCALE / white_level(cube))
    pixels = values.round().clip(0, np.iinfo(np.uint16).max).astype(np.uint16)
    return SpectralCube(pixels, cube.wavelengths, name=cube.name)


RECORDINGS: dict[str, Callable[[SpectralCube], SpectralCube]] = {
    "other filters": other_filters,
    "gain per band": gain_per_band,
    f"resolution / {COARSENING}": coarser,
    "haze": haze,
    "illumination gradient": illumination_gradient,
    "counts": counts,
}


def majority(labels: Labels, shape: tuple[int, int]) -> Labels:
    """Return the most frequent label of the blocks that (h, w) coarser pixels average."""
    factor = labels.shape[0] // shape[0]
    values = np.unique(labels)
    found = [_blocks(labels == value, factor).sum(axis=(1, 3)) for value in values]
    return values[np.argmax(found, axis=0)]


def _blocks(array: np.ndarray, factor: int) -> np.ndarray:
    """Return a view (h, factor, w, factor, …) of the complete blocks of an (H, W, …) array."""
    height, width = (length // factor for length in array.shape[:2])
    cut = array[: height * factor, : width * factor]
    return cut.reshape(height, factor, width, factor, *array.shape[2:])


def _with_pixels(cube: SpectralCube, pixels: np.ndarray) -> SpectralCube:
    """Return a cube of the same wavelengths with other physical values."""
    return SpectralCube(pixels.astype(np.float32), cube.wavelengths, cube.fwhm, name=cube.name)
