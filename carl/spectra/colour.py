"""Spectral cubes as pictures: the colour an eye would see, or any three bands.

True colour follows CIE 1931: the spectrum of each pixel is weighed with the colour matching
functions of the standard observer, in the analytic form of Wyman, Sloan & Shirley, "Simple Analytic
Approximations to the CIE XYZ Color Matching Functions", Journal of Computer Graphics Techniques
2(2), 2013. The light is equal-energy white, adapted to the D65 of sRGB (Bradford), so that a flat
spectrum is grey.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress

Picture = NDArray[np.uint8]

_VISIBLE_NM = np.arange(380.0, 781.0)
_LOWEST_NM, _HIGHEST_NM, _WIDEST_GAP_NM = 510.0, 600.0, 120.0  # what `covers_visible` asks for
_BRIGHT_PERCENTILE = 99.5
_REFLECTANCE = (0.5, 1.6)  # bright parts of a reference-corrected cube have a luminance near 1
_STRETCH_PERCENTILES = (1.0, 99.0)
_SAMPLED_PIXELS = 60_000
_BLOCK_VALUES = 4_000_000
_NEARLY_ALL = 0.8

# Lobes (height, centre, σ below the centre, σ above it), nm: Wyman et al. 2013, table 1.
_LOBES = (
    ((1.056, 599.8, 37.9, 31.0), (0.362, 442.0, 16.0, 26.7), (-0.065, 501.1, 20.4, 26.2)),
    ((0.821, 568.8, 46.9, 40.5), (0.286, 530.9, 16.3, 31.1)),
    ((1.217, 437.0, 11.8, 36.0), (0.681, 459.0, 26.0, 13.8)),
)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])
_XYZ_TO_SRGB = np.array(  # IEC 61966-2-1
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def covers_visible(cube: SpectralCube) -> bool:
    """Whether the bands cover enough of the visible range for `true_colour` to mean something.

    The good bands have to start by 510 nm, reach 600 nm, and leave no gap over 120 nm between: the
    blue, green and red of a satellite are enough, and so is a tissue camera that starts at 500 nm.
    """
    nm = np.sort(_visible_bands(cube)[1])
    return bool(
        nm.size >= 3
        and nm[0] <= _LOWEST_NM
        and nm[-1] >= _HIGHEST_NM
        and np.diff(nm).max() <= _WIDEST_GAP_NM
    )


def true_colour(cube: SpectralCube, progress: Progress = no_progress) -> Picture:
    """The cube as an eye would see it.

    Reflectance and transmittance are shown as they are: 1 is white. Raw counts and radiance are
    exposed so that their bright parts are white. Values without data are left out of a pixel's
    spectrum; a pixel without any is black.

    Args:
        cube: any cube. Where the visible range is not covered (see `covers_visible`), the picture
            shows three bands spread over the range of the camera, the longest one as red.
        progress: told of every block of rows.

    Returns:
        (H, W, 3) uint8, sRGB.
    """
    if not covers_visible(cube):
        return band_composite(cube, evenly_spaced_bands(cube), progress)
    bands, nm = _visible_bands(cube)
    weights = colour_matching_weights(nm).astype(np.float32)
    picture = np.empty((*cube.shape[:2], 3), np.uint8)
    step = int(np.ceil(np.sqrt(cube.shape[0] * cube.shape[1] / _SAMPLED_PIXELS)))
    sample = _xyz(
        _read_bands(cube, slice(None, None, step), slice(None, None, step), bands), weights
    )
    exposure = _exposure(sample[..., 1])
    to_rgb = (_equal_energy_to_srgb() * exposure).astype(np.float32)
    for rows in cube.row_blocks(_BLOCK_VALUES):
        xyz = _xyz(_read_bands(cube, rows, slice(None), bands), weights)
        picture[rows] = _encode_srgb(xyz @ to_rgb.T)
        progress(rows.stop / cube.shape[0], "Computing true colour")
    return picture


def band_composite(
    cube: SpectralCube, bands: Sequence[int], progress: Progress = no_progress
) -> Picture:
    """Three bands as red, green and blue, each stretched from its 1st to its 99th percentile.

    Args:
        cube: any cube.
        bands: indices of the bands shown as red, green and blue; the same one thrice is grey.
        progress: told after each band.

    Returns:
        (H, W, 3) uint8; a value without data is 0.

    Raises:
        CubeError: not three bands, or one the cube does not have.
    """
    if len(bands) != 3 or not all(0 <= band < cube.n_bands for band in bands):
        raise CubeError(
            f"{list(bands)} are not three bands of {cube.name}: choose three from 0 to "
            f"{cube.n_bands - 1}."
        )
    stretched: dict[int, Picture] = {}
    for done, band in enumerate(bands, start=1):
        if band not in stretched:
            stretched[band] = _stretch(cube.read(bands=slice(band, band + 1))[..., 0])
        progress(done / 3, "Composing bands")
    return np.stack([stretched[band] for band in bands], axis=-1)


def nearest_band(cube: SpectralCube, nm: float) -> int:
    """Index of the good band whose centre is nearest to `nm`.

    Raises:
        WavelengthError: the cube does not tell its wavelengths.
        CubeError: no band is good.
    """
    distance = np.where(cube.good_bands, np.abs(cube.require_wavelengths() - nm), np.inf)
    if not np.isfinite(distance).any():
        raise CubeError(f"All bands of {cube.name} are marked as bad: none is left to show.")
    return int(np.argmin(distance))


def evenly_spaced_bands(cube: SpectralCube) -> tuple[int, int, int]:
    """Three good bands spread over the range of the camera, the longest wavelength first.

    Bands are taken at 5/6, 1/2 and 1/6 of their order by wavelength, or by index where wavelengths
    are unknown. A camera with fewer than three bands repeats some.
    """
    good = np.flatnonzero(cube.good_bands) if cube.good_bands.any() else np.arange(cube.n_bands)
    if cube.wavelengths is not None:
        good = good[np.argsort(cube.wavelengths[good], kind="stable")]
    red, green, blue = (int(good[int(good.size * share)]) for share in (5 / 6, 1 / 2, 1 / 6))
    return red, green, blue


def colour_matching_functions(nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour matching functions x̄, ȳ, z̄ of the CIE 1931 standard observer, (3, N), at N nm."""

    def lobe(height: float, centre: float, below: float, above: float) -> NDArray[np.float64]:
        sigma = np.where(nm < centre, below, above)
        return np.asarray(height * np.exp(-0.5 * ((nm - centre) / sigma) ** 2))

    return np.array([sum(lobe(*numbers) for numbers in lobes) for lobes in _LOBES])


def colour_matching_weights(nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that turn the values of a pixel into XYZ, (C, 3), each column summing to 1.

    They integrate the matching functions over a spectrum that is linear between neighbouring bands
    and level beyond the outermost ones. So any spacing and any order of bands is right, and a flat
    spectrum of 1 has X = Y = Z = 1.

    Args:
        nm: (C,) band centres; equal ones share their weight.
    """
    centres, position, count = np.unique(nm, return_inverse=True, return_counts=True)
    shares = np.array([np.interp(_VISIBLE_NM, centres, row) for row in np.eye(centres.size)])
    weights = shares @ colour_matching_functions(_VISIBLE_NM).T
    weights /= weights.sum(axis=0)
    return np.asarray((weights / count[:, None])[position])


def _visible_bands(cube: SpectralCube) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Indices and centres of the good bands in the visible range; none if unknown."""
    if cube.wavelengths is None:
        return np.empty(0, np.intp), np.empty(0)
    nm = cube.wavelengths
    bands = np.flatnonzero(cube.good_bands & (nm >= _VISIBLE_NM[0]) & (nm <= _VISIBLE_NM[-1]))
    return bands, nm[bands]


def _read_bands(
    cube: SpectralCube, rows: slice, columns: slice, bands: NDArray[np.intp]
) -> Float32Array:
    """Some bands of a block, read as the one range that covers them.

    If that is nearly all, all of them are read: in many files those of a pixel lie together, and so
    whole rows come in one piece.
    """
    first, last = int(bands.min()), int(bands.max())
    if last + 1 - first > _NEARLY_ALL * cube.n_bands:
        first, last = 0, cube.n_bands - 1
    block = cube.read(rows, columns, slice(first, last + 1))
    return block if np.array_equal(bands, np.arange(first, last + 1)) else block[..., bands - first]


def _xyz(values: Float32Array, weights: Float32Array) -> Float32Array:
    """XYZ of (..., C) spectra; where values are missing, of those that are left."""
    if np.isfinite(values.sum()):
        return values @ weights
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        xyz = (np.where(known, values, 0) @ weights) / (known.astype(np.float32) @ weights)
    xyz[~known.any(axis=-1)] = 0
    return np.asarray(np.nan_to_num(xyz, posinf=0, neginf=0), np.float32)


def _exposure(luminance: Float32Array) -> float:
    """Factor that makes bright parts white; 1 for values that already are a share of white."""
    bright = float(np.percentile(luminance, _BRIGHT_PERCENTILE))
    if bright <= 0 or _REFLECTANCE[0] <= bright <= _REFLECTANCE[1]:
        return 1.0
    return 1.0 / bright


def _equal_energy_to_srgb() -> NDArray[np.float64]:
    """Linear sRGB from XYZ under equal-energy white, (3, 3); its rows sum to exactly 1."""
    adaptation = np.diag(_BRADFORD @ _D65 / _BRADFORD.sum(axis=1))
    matrix = _XYZ_TO_SRGB @ np.linalg.inv(_BRADFORD) @ adaptation @ _BRADFORD
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def _encode_srgb(linear: Float32Array) -> Picture:
    """The transfer curve of sRGB (IEC 61966-2-1), to 8 bits."""
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * curved), np.uint8)


def _stretch(values: Float32Array) -> Picture:
    """One band to 8 bits between its percentiles, taken over a sample of its pixels."""
    step = int(np.ceil(np.sqrt(values.size / _SAMPLED_PIXELS)))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(sample, _STRETCH_PERCENTILES)
    shares = np.clip((values - low) / (high - low or 1), 0, 1)
    return np.asarray(np.rint(255 * np.nan_to_num(shares)), np.uint8)
