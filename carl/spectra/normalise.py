"""Numbers that bring cubes of any camera and exposure to one scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress
from carl.spectra.missing import fill_missing

_BLOCK_VALUES = 1 << 23
_STATISTICS_VALUES = 1 << 20
"""Few enough to stay in a processor's cache from one step to the next."""
_WHITE_SAMPLE = 20_000
_MOST_ROWS = 256


def row_blocks(cube: SpectralCube, values: int = _BLOCK_VALUES) -> list[slice]:
    """Slices of rows that cover the cube, each of about `values` numbers and at least one row."""
    height, width, n_bands = cube.shape
    step = max(1, values // (width * n_bands))
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def cube_statistics(cube: SpectralCube, progress: Progress = no_progress) -> tuple[float, float]:
    """Mean and standard deviation over all finite values of the good bands, in one pass.

    Blocks are merged by the update of Chan, Golub and LeVeque (1983), which does not lose digits
    where the mean is large against the spread.

    Returns:
        mean and standard deviation, in the cube's physical values.

    Raises:
        CubeError: no value is finite.
    """
    cube = cube.usable_bands()
    count, mean, squares = 0, 0.0, 0.0
    blocks = row_blocks(cube, _STATISTICS_VALUES)
    for i, rows in enumerate(blocks):
        values = cube.read(rows).ravel()
        finite = np.isfinite(values)
        if not finite.all():
            values = values[finite]
        if values.size:
            block_mean, block_squares = _moments(values)
            shift, total = block_mean - mean, count + values.size
            squares += block_squares + shift**2 * count * values.size / total
            mean += shift * values.size / total
            count = total
        progress((i + 1) / len(blocks), "Measuring the cube")
    if count == 0:
        raise CubeError(
            f"{cube.name} holds no numbers, "
            "only missing values: check the file or its no-data value."
        )
    return mean, float(np.sqrt(squares / count))


def _moments(values: NDArray[np.float32]) -> tuple[float, float]:
    """Mean, and sum of squared differences from it."""
    differences = values.astype(np.float64)
    mean = differences.mean()
    differences -= mean
    return float(mean), float(differences @ differences)


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
