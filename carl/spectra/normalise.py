"""Numbers that bring cubes of any camera and exposure to one scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.progress import Progress, no_progress

_BLOCK_VALUES = 1 << 23
_WHITE_SAMPLE = 1 << 16
_WHITE_PERCENTILE = 99.5


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
    blocks = row_blocks(cube)
    for i, rows in enumerate(blocks):
        values = cube.read(rows)
        values = values[np.isfinite(values)]
        if values.size:
            block_mean = float(values.mean(dtype=np.float64))
            block_squares = float(values.var(dtype=np.float64)) * values.size
            shift, total = block_mean - mean, count + values.size
            squares += block_squares + shift**2 * count * values.size / total
            mean += shift * values.size / total
            count = total
        progress((i + 1) / len(blocks), "Measuring the cube")
    if count == 0:
        raise CubeError(
            f"{cube.name} holds no numbers, only missing values: check the file or its no-data value."
        )
    return mean, float(np.sqrt(squares / count))


def sample_spectra(cube: SpectralCube, n: int, seed: int = 0) -> NDArray[np.float32]:
    """About `n` spectra from rows spread evenly over the cube, (n, C), pixels without data left out.

    Whole rows are read, because that is what files on disk give quickly.
    """
    height, width, _ = cube.shape
    per_row = min(width, max(1, -(-n // min(height, 256))))
    rows = np.unique(np.linspace(0, height - 1, min(height, -(-n // per_row))).astype(int))
    generator = np.random.default_rng(seed)
    picked = [
        cube.read(slice(row, row + 1))[0, generator.choice(width, per_row, replace=False)]
        for row in rows
    ]
    spectra = np.concatenate(picked)
    return spectra[np.isfinite(spectra).all(axis=1)]


def white_level(cube: SpectralCube) -> float:
    """The value that is as good as white here: a high percentile over a sample of all bands.

    Dividing by it makes raw counts, scaled integers and reflectance alike.

    Raises:
        CubeError: no spectrum of the sample is finite and above zero.
    """
    values = sample_spectra(cube, _WHITE_SAMPLE // max(1, cube.n_bands) + 1024)
    level = float(np.percentile(values, _WHITE_PERCENTILE)) if values.size else 0.0
    if not level > 0:
        raise CubeError(
            f"{cube.name} holds no value above zero: check the file, its scale or its bad bands."
        )
    return level
