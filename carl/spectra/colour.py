"""Colour pictures of spectral cubes: true colour, or any three bands.

True colour follows CIE 1931: the spectrum of each pixel is weighted with the colour matching
functions of the standard observer, in the analytic form of Wyman, Sloan & Shirley, "Simple Analytic
Approximations to the CIE XYZ Color Matching Functions", Journal of Computer Graphics Techniques
2(2), 2013. The illuminant is equal-energy white, adapted to the D65 of sRGB (Bradford), so that a
flat spectrum is grey.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress

Picture = NDArray[np.uint8]

_VISIBLE_NM = np.arange(380.0, 781.0)
_FIRST_NM, _LAST_NM, _MAX_GAP_NM = 510.0, 600.0, 120.0
"""Conditions of `covers_visible`: first band at most, last band at least, largest gap."""
_BRIGHT_PERCENTILE = 99.5
"""Percentile of the luminance that is taken as the bright parts of a picture."""
_REFLECTANCE = (0.5, 1.6)
"""Luminance of the bright parts of a reference-corrected cube, which is shown without scaling."""
_STRETCH_PERCENTILES = (1.0, 99.0)
"""Percentiles of a band that are shown as black and full intensity."""
_SAMPLED_PIXELS = 60_000
"""Number of pixels from which exposure and percentiles are estimated."""
_BLOCK_VALUES = 4_000_000
"""Values of a cube that are read at once."""
_NEARLY_ALL = 0.8
"""Fraction of the bands from which on reading all of them, contiguously, is faster."""

# Lobes of x̄, ȳ, z̄ as (height, centre, σ below the centre, σ above it), nm: Wyman et al. 2013,
# table 1.
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
    """Return whether the bands cover enough of the visible range for `true_colour`.

    The first good band must be at 510 nm or below, the last at 600 nm or above, without a gap of
    more than 120 nm between: the blue, green and red bands of a satellite are enough, and so is a
    tissue camera that starts at 500 nm.
    """
    nm = np.sort(_visible_bands(cube)[1])
    return bool(
        nm.size >= 3
        and nm[0] <= _FIRST_NM
        and nm[-1] >= _LAST_NM
        and np.diff(nm).max() <= _MAX_GAP_NM
    )


def true_colour(cube: SpectralCube, progress: Progress = no_progress) -> Picture:
    """Compute the true colour of a cube.

    Reflectance and transmittance are shown unscaled: 1 is white. Raw counts and radiance are scaled
    so that their bright parts are white. Missing values are left out of a pixel's spectrum; pixels
    without any data are black.

    Args:
        cube: any cube. Where the visible range is not covered (see `covers_visible`), the picture
            shows three bands spread over the range of the camera, the longest one as red.
        progress: called for every block of rows; cancels by raising.

    Returns:
        (H, W, 3) uint8, sRGB.
    """
    if not covers_visible(cube):
        return band_composite(cube, evenly_spaced_bands(cube), progress)
    bands, nm = _visible_bands(cube)
    weights = colour_matching_weights(nm).astype(np.float32)
    picture = np.empty((*cube.shape[:2], 3), np.uint8)
    step = int(np.ceil(np.sqrt(cube.shape[0] * cube.shape[1] / _SAMPLED_PIXELS)))
    every = slice(None, None, step)
    luminance = _xyz(_read_bands(cube, every, every, bands), weights)[..., 1]
    to_rgb = (_equal_energy_to_srgb() * _exposure(luminance)).astype(np.float32)
    for rows in cube.row_blocks(_BLOCK_VALUES):
        xyz = _xyz(_read_bands(cube, rows, slice(None), bands), weights)
        picture[rows] = _encode_srgb(xyz @ to_rgb.T)
        progress(rows.stop / cube.shape[0], "Computing true colour")
    return picture


def band_composite(
    cube: SpectralCube, bands: Sequence[int], progress: Progress = no_progress
) -> Picture:
    """Show three bands as red, green and blue, each stretched from its 1st to 99th percentile.

    Args:
        cube: any cube.
        bands: indices of the bands shown as red, green and blue; three equal ones give grey.
        progress: called after each band; cancels by raising.

    Returns:
        (H, W, 3) uint8; missing values are 0.

    Raises:
        CubeError: not three bands, or a band that the cube does not have.
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
    """Return the index of the good band whose centre is nearest to `nm`.

    Raises:
        WavelengthError: the wavelengths are unknown.
        CubeError: no band is good.
    """
    distance = np.where(cube.good_bands, np.abs(cube.require_wavelengths() - nm), np.inf)
    if not np.isfinite(distance).any():
        raise CubeError(f"All bands of {cube.name} are marked as bad: none is left to show.")
    return int(np.argmin(distance))


def evenly_spaced_bands(cube: SpectralCube) -> tuple[int, int, int]:
    """Return three good bands spread over the range of the camera, the longest wavelength first.

    They are at 5/6, 1/2 and 1/6 of the bands sorted by wavelength, or by index if wavelengths are
    unknown. With fewer than three bands, some are repeated.
    """
    good = np.flatnonzero(cube.good_bands) if cube.good_bands.any() else np.arange(cube.n_bands)
    if cube.wavelengths is not None:
        good = good[np.argsort(cube.wavelengths[good], kind="stable")]
    red, green, blue = (int(good[int(good.size * fraction)]) for fraction in (5 / 6, 1 / 2, 1 / 6))
    return red, green, blue


def colour_matching_functions(nm: Float64Array) -> Float64Array:
    """Evaluate the (3, N) colour matching functions x̄, ȳ, z̄ of CIE 1931 at (N,) wavelengths."""

    def lobe(height: float, centre: float, below: float, above: float) -> Float64Array:
        sigma = np.where(nm < centre, below, above)
        return np.asarray(height * np.exp(-0.5 * ((nm - centre) / sigma) ** 2))

    return np.array([sum(lobe(*numbers) for numbers in lobes) for lobes in _LOBES])


def colour_matching_weights(nm: Float64Array) -> Float64Array:
    """Compute (C, 3) weights, with columns that sum to 1, that convert spectra to XYZ.

    They integrate the matching functions over a spectrum that is linear between neighbouring bands
    and constant beyond the outermost ones, for any spacing and order of bands. Bands of equal
    centre share their weight. A flat spectrum of 1 has X = Y = Z = 1.
    """
    centres, index, counts = np.unique(nm, return_inverse=True, return_counts=True)
    hats = np.array([np.interp(_VISIBLE_NM, centres, row) for row in np.eye(centres.size)])
    weights = hats @ colour_matching_functions(_VISIBLE_NM).T
    weights /= weights.sum(axis=0)
    return np.asarray((weights / counts[:, None])[index])


def _visible_bands(cube: SpectralCube) -> tuple[NDArray[np.intp], Float64Array]:
    """Return indices and centres of the good bands in the visible range; none if unknown."""
    if cube.wavelengths is None:
        return np.empty(0, np.intp), np.empty(0)
    nm = cube.wavelengths
    bands = np.flatnonzero(cube.good_bands & (nm >= _VISIBLE_NM[0]) & (nm <= _VISIBLE_NM[-1]))
    return bands, nm[bands]


def _read_bands(
    cube: SpectralCube, rows: slice, columns: slice, bands: NDArray[np.intp]
) -> Float32Array:
    """Read some bands of a block, as one contiguous range of bands.

    If the range contains nearly all bands, all are read: many files store the bands of a pixel
    together, so that whole rows are contiguous.
    """
    first, last = int(bands.min()), int(bands.max())
    if last + 1 - first > _NEARLY_ALL * cube.n_bands:
        first, last = 0, cube.n_bands - 1
    block = cube.read(rows, columns, slice(first, last + 1))
    return block if np.array_equal(bands, np.arange(first, last + 1)) else block[..., bands - first]


def _xyz(values: Float32Array, weights: Float32Array) -> Float32Array:
    """Convert (..., C) spectra to XYZ, from the values that are not missing."""
    if np.isfinite(values.sum()):
        return values @ weights
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        xyz = (np.where(known, values, 0) @ weights) / (known.astype(np.float32) @ weights)
    xyz[~known.any(axis=-1)] = 0
    return np.asarray(np.nan_to_num(xyz, posinf=0, neginf=0), np.float32)


def _exposure(luminance: Float32Array) -> float:
    """Return the factor that makes bright parts white; 1 for reflectance and transmittance."""
    bright = float(np.percentile(luminance, _BRIGHT_PERCENTILE))
    unscaled = bright <= 0 or _REFLECTANCE[0] <= bright <= _REFLECTANCE[1]
    return 1.0 if unscaled else 1.0 / bright


def _equal_energy_to_srgb() -> Float64Array:
    """Return the (3, 3) matrix from XYZ under equal-energy white to linear sRGB; rows sum to 1."""
    adaptation = np.diag(_BRADFORD @ _D65 / _BRADFORD.sum(axis=1))
    matrix = _XYZ_TO_SRGB @ np.linalg.inv(_BRADFORD) @ adaptation @ _BRADFORD
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def _encode_srgb(linear: Float32Array) -> Picture:
    """Apply the transfer function of sRGB (IEC 61966-2-1) and convert to 8 bits."""
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * curved), np.uint8)


def _stretch(values: Float32Array) -> Picture:
    """Convert a band to 8 bits between percentiles, estimated from a sample of its pixels."""
    step = int(np.ceil(np.sqrt(values.size / _SAMPLED_PIXELS)))
    sample = values[::step, ::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(sample, _STRETCH_PERCENTILES)
    stretched = np.clip((values - low) / (high - low or 1), 0, 1)
    return np.asarray(np.rint(255 * np.nan_to_num(stretched)), np.uint8)
