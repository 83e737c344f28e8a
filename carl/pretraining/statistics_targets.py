"""Compute the targets of the `statistics` objective: spectral moments and scene ground truth.

Targets of an image are computed from all its bands, in NumPy, so that they do not depend on the
bands that a batch shows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from carl.arrays import Float32Array
from carl.simulation import PARAMETERS, REGIONS, Scene
from carl.spectra.normalise import optical_density
from carl.spectra.resample import interpolation_matrix

RANGES_NM = ((400.0, 760.0), (800.0, 2300.0))
"""Wavelength ranges in nm; each is described separately, if the image covers it."""
_GRID = 24
"""Number of wavelengths at which each range is sampled."""
_COMPONENTS = 8
"""Number of DCT coefficients per range: the smooth part of a spectrum."""
N_COMPONENTS = _COMPONENTS * len(RANGES_NM)
"""Number of components of a spectrum: the first DCT coefficients of each range."""
_MAX_GAP = 0.12
"""Fraction of a range that may be missing at either end, where the last band is repeated."""
_WHITE = 2.0
"""Level of white, in standard deviations above the mean of an image."""

_LOG_OFFSETS: Final = {
    "blood": 1e-3, "bilirubin": 0.1, "melanin": 1e-3, "scatter": 1.0, "glare": 1e-2,
    "haematoxylin": 0.02, "eosin": 0.02,
}  # fmt: skip
"""Scene parameters that span decades and are predicted as log(value + offset), with the offset: an
amount below which the component is practically absent."""
N_PARAMETERS: Final = len(PARAMETERS)
_REGIONS: Final = tuple((kind, name) for kind, names in REGIONS.items() for name in names)
N_REGIONS: Final = len(_REGIONS)
"""Number of regions of all kinds of scenes together."""
N_TRUTHS: Final = N_PARAMETERS + N_REGIONS
"""Number of ground-truth values of a pixel."""


def patch_moments(
    values: Float32Array,
    wavelengths: NDArray[np.float64],
    mean: float,
    std: float,
    patch_size: int,
) -> Float32Array:
    """Compute first and second moments of spectral components over every patch.

    The components are the first DCT coefficients of the optical density, resampled to a fixed grid
    of wavelengths in each range of `RANGES_NM`.

    Args:
        values: (S, S, C) of all bands; missing values are not finite.
        wavelengths: (C,) in nm, in any order.
        mean: mean of the whole image.
        std: standard deviation of the whole image.
        patch_size: P, a divisor of S.

    Returns:
        (2·N_COMPONENTS, S/P, S/P); NaN for a range of wavelengths that is not covered.
    """
    white = max(mean + _WHITE * std, float(np.finfo(np.float32).tiny))
    density = optical_density(values, white)
    parts = []
    for low, high in RANGES_NM:
        gap = _MAX_GAP * (high - low)
        if wavelengths.min() > low + gap or wavelengths.max() < high - gap:
            parts.append(np.full((*values.shape[:2], _COMPONENTS), np.nan, np.float32))
            continue
        on_grid = density @ interpolation_matrix(wavelengths, np.linspace(low, high, _GRID))
        parts.append(dct(on_grid, axis=-1, norm="ortho")[..., :_COMPONENTS])
    components = np.concatenate(parts, axis=2)
    n = values.shape[0] // patch_size
    patches = components.reshape(n, patch_size, n, patch_size, -1)
    moments = np.concatenate([patches.mean(axis=(1, 3)), (patches**2).mean(axis=(1, 3))], axis=2)
    return np.ascontiguousarray(moments.transpose(2, 0, 1), np.float32)


def scene_truth(scene: Scene) -> Float32Array:
    """Return (H, W, N_TRUTHS) ground truth of every pixel of a simulated scene.

    The parameters come first, NaN where they are undefined, then one-hot regions.
    """
    truth = np.zeros((*scene.labels.shape, N_TRUTHS), np.float32)
    for i, name in enumerate(PARAMETERS):
        values = scene.parameters[name]
        offset = _LOG_OFFSETS.get(name)
        truth[..., i] = values if offset is None else np.log(np.maximum(values, 0) + offset)
    for value, name in enumerate(scene.classes, start=1):
        truth[..., N_PARAMETERS + _REGIONS.index((scene.kind, name))] += scene.labels == value
    return truth


def patch_truth(truth: Float32Array | None, size: int, patch_size: int) -> Float32Array:
    """Average ground truth over patches: (N_TRUTHS, S/P, S/P), NaN where a pixel is unknown.

    Args:
        truth: (S, S, N_TRUTHS) of `scene_truth`; None if nothing is known.
        size: S, pixels.
        patch_size: P, a divisor of S.
    """
    n = size // patch_size
    if truth is None:
        return np.full((N_TRUTHS, n, n), np.nan, np.float32)
    patches = truth.reshape(n, patch_size, n, patch_size, N_TRUTHS)
    return np.ascontiguousarray(patches.mean(axis=(1, 3)).transpose(2, 0, 1))
