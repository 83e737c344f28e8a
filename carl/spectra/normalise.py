"""Numbers that bring cubes of any camera and exposure to one scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress

_STATISTICS_VALUES = 1 << 20
"""Few enough to stay in a processor's cache from one step to the next."""
_DARK = 0.02
"""Added to values relative to white before the logarithm: darker pixels hold mostly noise."""
_WHITE_SAMPLE = 20_000
_MOST_ROWS = 256


def band_weights(cube: SpectralCube) -> NDArray[np.float64]:
    """(C,) what each band counts in the statistics of a cube: its share of the spectrum.

    That is half the distance, in the logarithm of wavelength, between its neighbours. A camera with
    many bands in one place and few in another then sees the same mean and spread as one whose bands
    lie evenly. Bands count the same where wavelengths are unknown.
    """
    if cube.wavelengths is None or np.unique(cube.wavelengths).size < 2:
        return np.ones(cube.n_bands)
    centres, place, sharing = np.unique(cube.wavelengths, return_inverse=True, return_counts=True)
    shares: NDArray[np.float64] = np.gradient(np.log(centres)) / sharing
    return shares[place]


def cube_statistics(cube: SpectralCube, progress: Progress = no_progress) -> tuple[float, float]:
    """Mean and standard deviation over all finite values of the good bands, in one pass.

    Bands count by `band_weights`. Blocks are merged by the update of Chan, Golub and LeVeque
    (1983), which does not lose digits where the mean is large against the spread.

    Returns:
        mean and standard deviation, in the cube's physical values.

    Raises:
        CubeError: no value is finite.
    """
    cube = cube.usable_bands()
    counts, means, squares = np.zeros((3, cube.n_bands))
    blocks = cube.row_blocks(_STATISTICS_VALUES)
    for i, rows in enumerate(blocks):
        values = cube.read(rows).reshape(-1, cube.n_bands)
        block_counts, block_means, block_squares = _moments(values)
        totals = np.maximum(counts + block_counts, 1)
        shifts = block_means - means
        squares += block_squares + shifts**2 * counts * block_counts / totals
        means += shifts * block_counts / totals
        counts += block_counts
        progress((i + 1) / len(blocks), "Measuring the cube")
    weights = band_weights(cube)
    share = weights * counts
    if not counts.any():
        raise CubeError(
            f"{cube.name} holds no numbers, "
            "only missing values: check the file or its no-data value."
        )
    share /= share.sum()
    spread = np.divide(squares, counts, out=np.zeros_like(squares), where=counts > 0)
    mean = float(share @ means)
    return mean, float(np.sqrt(share @ (spread + (means - mean) ** 2)))


def spectra_statistics(
    spectra: NDArray[np.float32], wavelengths: NDArray[np.float64]
) -> tuple[float, float]:
    """Return mean and standard deviation of spectra (n, C), weighted as in `cube_statistics`.

    Returns:
        mean and standard deviation; both are 0 if no value is finite.
    """
    if not np.isfinite(spectra).any():
        return 0.0, 0.0
    return cube_statistics(SpectralCube(spectra[None], wavelengths))


def _moments(values: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """Of (n, C): number of finite values, their mean and their squared differences from it."""
    differences = values.astype(np.float64)
    finite = np.isfinite(values)
    if finite.all():
        counts = np.full(values.shape[1], float(len(values)))
        means = differences.mean(axis=0)
        differences -= means
    else:
        counts = finite.sum(axis=0, dtype=np.float64)
        means = np.where(finite, differences, 0).sum(axis=0) / np.maximum(counts, 1)
        differences = np.where(finite, differences - means, 0)
    return counts, means, np.einsum("nc,nc->c", differences, differences)


def sample_spectra(
    cube: SpectralCube, n: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Spectra with data from rows spread evenly over the cube, each with one of a pixel beside it.

    Whole rows are read, because that is what files on disk give quickly. Single missing values are
    filled from the nearest band.

    Args:
        cube: to look at.
        n: about how many.
        seed: of the columns drawn.

    Returns:
        (n, C) spectra, and (n, C) of their right neighbours (of themselves at the right border).
    """
    height, width, _ = cube.shape
    per_row = min(width, max(1, -(-n // min(height, _MOST_ROWS))))
    rows = np.unique(np.linspace(0, height - 1, min(height, -(-n // per_row))).astype(int))
    generator = np.random.default_rng(seed)
    pairs = []
    for row in rows:
        spectra = cube.read(slice(row, row + 1)).reshape(width, -1)
        columns = generator.choice(width, per_row, replace=False)
        pairs.append(np.stack([spectra[columns], spectra[np.minimum(columns + 1, width - 1)]]))
    here, beside = np.concatenate(pairs, axis=1)
    known = np.isfinite(here).any(axis=1) & np.isfinite(beside).any(axis=1)
    here, beside = here[known], beside[known]
    positions = np.arange(float(cube.n_bands)) if cube.wavelengths is None else cube.wavelengths
    for spectra in (here, beside):
        fill_missing(spectra, positions)
    return here, beside


def white_level(cube: SpectralCube) -> float:
    """The value that is as good as white here: a high percentile of each pixel's middle band.

    Dividing by it makes raw counts, scaled integers and reflectance alike. The middle of a pixel's
    values hardly depends on which bands a camera has, nor on how noisy the outermost are.

    Raises:
        CubeError: no spectrum of the sample is finite and above zero.
    """
    spectra, _ = sample_spectra(cube, _WHITE_SAMPLE)
    level = float(np.percentile(np.median(spectra, axis=1), 99.5)) if spectra.size else 0.0
    if not level > 0:
        raise CubeError(
            f"{cube.name} holds no value above zero: check the file, its scale or its bad bands."
        )
    return level


def optical_density(values: Float32Array, white: float) -> Float32Array:
    """Return the optical density −ln(value / white + 0.02), with negative values taken as 0.

    Args:
        values: (..., C) physical values; NaN stays NaN.
        white: value of white, as `white_level` returns it.

    Returns:
        (..., C) densities, at most 3.9.
    """
    density = np.asarray(values * np.float32(1 / white), np.float32)
    np.maximum(density, 0, out=density)  # in place: this runs over every value of a cube
    density += np.float32(_DARK)
    np.log(density, out=density)
    return np.negative(density, out=density)


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


def sample_pixels(cube: SpectralCube, n_pixels: int = 4096) -> NDArray[np.float32]:
    """About `n_pixels` spectra from rows spread over the cube: (N, C) physical values.

    Few rows are read, with many pixels of each, since rows are what files keep together. Of a cube
    so small that all fit, all pixels are taken.

    Args:
        cube: the cube.
        n_pixels: how many to take.
    """
    height, width, _ = cube.shape
    n_rows = min(height, max(8, -(-n_pixels // width)))
    rows = np.unique(np.linspace(0, height - 1, n_rows).round().astype(int))
    step = max(1, width * len(rows) // n_pixels)
    every = slice(None, None, step)
    blocks = [cube.read(slice(int(row), int(row) + 1), every)[0] for row in rows]
    return np.concatenate(blocks)


def check_pixels(cube: SpectralCube) -> None:
    """Make sure that there is something to see in a cube.

    Reads a sample; the whole cube only where the sample holds nothing.

    Raises:
        CubeError: no pixel has a finite value.
    """
    if np.isfinite(sample_pixels(cube)).any():
        return
    if any(np.isfinite(cube.read(rows)).any() for rows in cube.row_blocks()):
        return
    raise CubeError(f"{cube.name} has no pixel with a finite value: every one is NaN or no data.")
