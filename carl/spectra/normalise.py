"""Statistics, samples, missing values and normalisation of spectra of any camera."""

from __future__ import annotations

import numpy as np

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress

_STATISTICS_VALUES = 1 << 20
"""Values of a block of `cube_statistics`: few enough to stay in the processor's cache."""
_DARK = 0.02
"""Added to values relative to white before the logarithm: darker pixels hold mostly noise."""
_WHITE_SAMPLE = 20_000
"""Number of pixels from which `white_level` is estimated."""
_MAX_SAMPLED_ROWS = 256
"""Most rows that `sample_spectra` reads."""


def band_weights(cube: SpectralCube) -> Float64Array:
    """Compute the weights of the bands in the statistics of a cube.

    The weight of a band is half the distance between its neighbours in the logarithm of wavelength.
    Cameras with unevenly spaced bands then measure the same mean and standard deviation as those
    with evenly spaced ones.

    Returns:
        (C,) weights, all 1 if the wavelengths are unknown.
    """
    if cube.wavelengths is None or np.unique(cube.wavelengths).size < 2:
        return np.ones(cube.n_bands)
    centres, index, counts = np.unique(cube.wavelengths, return_inverse=True, return_counts=True)
    weights: Float64Array = np.gradient(np.log(centres)) / counts
    return weights[index]


def cube_statistics(cube: SpectralCube, progress: Progress = no_progress) -> tuple[float, float]:
    """Compute mean and standard deviation of all finite values of the good bands in one pass.

    Bands are weighted by `band_weights`. Blocks are merged with the update of Chan, Golub and
    LeVeque, "Algorithms for computing the sample variance", The American Statistician 37, 1983,
    which is accurate even if the mean is much larger than the standard deviation.

    Returns:
        mean and standard deviation, in physical values.

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
    weights *= counts
    if not counts.any():
        raise CubeError(
            f"{cube.name} holds missing values only: check the file or its no-data value."
        )
    weights /= weights.sum()
    variances = np.divide(squares, counts, out=np.zeros_like(squares), where=counts > 0)
    mean = float(weights @ means)
    return mean, float(np.sqrt(weights @ (variances + (means - mean) ** 2)))


def spectra_statistics(spectra: Float32Array, wavelengths: Float64Array) -> tuple[float, float]:
    """Return mean and standard deviation of (n, C) spectra, as `cube_statistics` does.

    Both are 0 if no value is finite.
    """
    if not np.isfinite(spectra).any():
        return 0.0, 0.0
    return cube_statistics(SpectralCube(spectra[None], wavelengths))


def _moments(values: Float32Array) -> tuple[Float64Array, ...]:
    """Return count, mean and sum of squared deviations of the finite values of each column."""
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


def sample_spectra(cube: SpectralCube, n: int) -> tuple[Float32Array, Float32Array]:
    """Sample spectra, each with that of its right neighbour, from rows spread over the cube.

    Whole rows are read, which is fast for most files. Pixels without data are left out, and missing
    values of others are filled with `fill_missing`. If fewer than two pixels have one with
    data, the next pixel with data in the row takes the place of the right neighbour.

    Returns:
        about (n, C) spectra, and those of their right neighbours (of themselves at the border).
    """
    height, width, _ = cube.shape
    per_row = min(width, max(1, -(-n // min(height, _MAX_SAMPLED_ROWS))))
    rows = np.unique(np.linspace(0, height - 1, min(height, -(-n // per_row))).astype(int))
    generator = np.random.default_rng(0)
    pairs = []
    for row in rows:
        pixels = cube.read(slice(row, row + 1)).reshape(width, -1)
        columns = generator.choice(width, per_row, replace=False)
        pairs.append(np.stack([pixels[columns], pixels[np.minimum(columns + 1, width - 1)]]))
    spectra, neighbours = np.concatenate(pairs, axis=1)
    known = np.isfinite(spectra).any(axis=1) & np.isfinite(neighbours).any(axis=1)
    if np.count_nonzero(known) > 1:
        spectra, neighbours = spectra[known], neighbours[known]
    else:
        spectra, neighbours = _scattered_spectra(cube, n)
    positions = np.arange(float(cube.n_bands)) if cube.wavelengths is None else cube.wavelengths
    fill_missing(spectra, positions)
    fill_missing(neighbours, positions)
    return spectra, neighbours


def _scattered_spectra(cube: SpectralCube, n: int) -> tuple[Float32Array, Float32Array]:
    """Sample spectra from all rows, each with that of the next pixel of its row that has data.

    Returns:
        at most about (n, C) spectra, and those of the next pixels (of themselves if there is none).
    """
    per_row = -(-n // cube.shape[0])
    found = [np.empty((2, 0, cube.n_bands), np.float32)]
    for rows in cube.row_blocks():
        for pixels in cube.read(rows):
            columns = np.flatnonzero(np.isfinite(pixels).any(axis=1))
            pairs = np.stack([columns, np.append(columns[1:], columns[-1:])])
            found.append(pixels[pairs[:, :: max(1, columns.size // per_row)]])
    spectra, neighbours = np.concatenate(found, axis=1)
    return spectra, neighbours


def white_level(cube: SpectralCube) -> float:
    """Estimate the value of white: the 99.5th percentile over pixels of the median over bands.

    Raw counts, scaled integers and reflectance are comparable after division by it. The median
    over bands hardly depends on which bands a camera has or on noise in the outermost bands.

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
        values: (..., C) physical values.
        white: the value of white, see `white_level`.

    Returns:
        (..., C) densities, at most 3.9; NaN stays NaN.
    """
    density = np.asarray(values * np.float32(1 / white), np.float32)
    np.maximum(density, 0, out=density)  # in place: this runs over every value of a cube
    density += np.float32(_DARK)
    np.log(density, out=density)
    return np.negative(density, out=density)


def fill_missing(spectra: Float32Array, wavelengths: Float64Array) -> None:
    """Fill values of (..., C) spectra that are not finite, in place.

    A missing value is replaced by that of the pixel's finite band nearest in wavelength; pixels
    without any finite value become 0. The (C,) wavelengths may be in any unit and order.
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


def sample_pixels(cube: SpectralCube, n_pixels: int = 4096) -> Float32Array:
    """Sample about `n_pixels` spectra on a regular grid of pixels: (N, C) physical values.

    Few rows are read, with many pixels of each, because most files store rows contiguously. All
    pixels of a small cube are returned.
    """
    height, width, _ = cube.shape
    n_rows = min(height, max(8, -(-n_pixels // width)))
    rows = np.unique(np.linspace(0, height - 1, n_rows).round().astype(int))
    step = max(1, width * len(rows) // n_pixels)
    every = slice(None, None, step)
    blocks = [cube.read(slice(int(row), int(row) + 1), every)[0] for row in rows]
    return np.concatenate(blocks)


def check_pixels(cube: SpectralCube) -> None:
    """Check that a cube has finite values, first in a sample, then in all pixels.

    Raises:
        CubeError: no pixel has a finite value.
    """
    if np.isfinite(sample_pixels(cube)).any():
        return
    if any(np.isfinite(cube.read(rows)).any() for rows in cube.row_blocks()):
        return
    raise CubeError(f"{cube.name} has no pixel with a finite value: every one is NaN or no data.")
