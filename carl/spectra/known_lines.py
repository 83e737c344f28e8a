"""Fit known absorption lines to the spectra of a cube, to find a shifted axis of wavelengths.

One shift after another is tried. Where the bands lie around a line after it, the logarithms of
sampled spectra are reduced to what a smooth continuum (a polynomial) does not explain, and compared
with the shape of the line. The share of this rest that the shape explains, summed over all spectra,
is high only where the line is, whatever the brightness of the pixels and however much of the
substance each holds; noise and other materials do not have that shape. The shift with the largest
share is that of the line.

The red edge of vegetation has no fixed shape; its position is the centroid of the squared slope.

`benchmarks/doctor.py` prints what the thresholds miss and what they invent, also with thresholds
that were chosen without the cube they are applied to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter
from sklearn.cluster import KMeans

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.simulation.chromophores import absorption
from carl.spectra.normalise import sample_pixels

MAX_SHIFT_NM: Final = 50.0
"""Largest shift that is tried: beyond it, neighbouring lines are taken for one another."""
_STEP_NM = 1.0
_N_SPECTRA = 2000
"""Sampled spectra: the share of a line no longer changes with more."""
_N_GROUPS = 16
"""Groups of similar spectra that are averaged: more hold fewer pixels each, and more noise."""
_DARK = 0.15
"""Pixels darker than this fraction of the median hold mostly noise."""
_FLOOR = 1e-3
"""Smallest value, relative to the median, whose logarithm is taken."""
_RIVAL_NM = 10.0
"""Distance from which a second maximum of the share is another position, not the same one."""
_RIVAL_REST = 2.0
"""How many times as much as the best position a rival must leave unexplained: a line has one."""
_MAX_GAP = 0.3
"""Largest gap between bands, as a fraction of the window of a line."""


@dataclass(frozen=True)
class LineFamily:
    """Lines that are fitted together.

    Attributes:
        name: what the lines are, for messages.
        window: first and last wavelength in nm around the lines.
        shapes: absorption at (N,) wavelengths in nm, on any scale; of several, the one that fits
            best counts.
        degree: degree of the polynomial of the continuum.
        min_share: smallest share of the rest that the line must explain, 0..1.
        min_depth: smallest depth of the line in the median spectrum, as an optical density.
        spread_nm: standard deviation of its position on correct axes: by temperature, saturation,
            and what else absorbs beside it.
        is_emission_possible: whether the line may also stand out upwards, as oxygen does where an
            atmospheric correction removed too much of it.
        max_step_nm: largest distance of bands at which the line is resolved.
    """

    name: str
    window: tuple[float, float]
    shapes: tuple[Callable[[Float64Array], Float64Array], ...]
    degree: int
    min_share: float
    min_depth: float
    spread_nm: float
    is_emission_possible: bool = False
    max_step_nm: float = 12.0


@dataclass(frozen=True)
class LineFit:
    """A line that was found in a cube.

    Attributes:
        family: name of the lines.
        shift_nm: what has to be added to the wavelengths of the cube.
        spread_nm: standard deviation of such shifts on correct axes.
        share: what the line explains of the spectra around it, 0..1.
    """

    family: str
    shift_nm: float
    spread_nm: float
    share: float


@dataclass(frozen=True)
class AxisShift:
    """A shift of the whole axis, from all lines that were found.

    Attributes:
        shift_nm: what has to be added to the wavelengths.
        uncertainty_nm: standard deviation of the shift.
        confidence: 0..1; the share that one line explains, and for several that agree one minus the
            product of what each leaves unexplained.
        lines: the lines.
    """

    shift_nm: float
    uncertainty_nm: float
    confidence: float
    lines: tuple[LineFit, ...]


def _water(nm: Float64Array) -> Float64Array:
    return absorption("water", np.clip(nm, 380, 2500))


def _saturated_water(nm: Float64Array) -> Float64Array:
    """Return the shape of a band so strong that light passes only near the surface."""
    return np.sqrt(_water(nm))


def _blood(saturation: float) -> Callable[[Float64Array], Float64Array]:
    """Return the shape of blood in tissue, whose diffuse reflectance falls with the square root."""

    def shape(nm: Float64Array) -> Float64Array:
        oxygenated = saturation * absorption("oxyhaemoglobin", nm)
        return np.sqrt(oxygenated + (1 - saturation) * absorption("deoxyhaemoglobin", nm))

    return shape


def _oxygen(nm: Float64Array) -> Float64Array:
    """Return the A band of oxygen, two unresolved branches around 762 nm, as cameras resolve it."""
    sigma = np.maximum(2.5, 0.5 * np.gradient(nm))
    return np.exp(-0.5 * ((nm - 762.0) / sigma) ** 2)


FAMILIES: Final = (
    LineFamily(
        "oxygen at 760 nm", (738, 786), (_oxygen,), 2, 0.7, 0.03, 5.0,
        is_emission_possible=True, max_step_nm=6.0,
    ),
    LineFamily("water at 970 and 1200 nm", (900, 1310), (_water,), 3, 0.6, 0.02, 6.0),
    LineFamily("water at 1450 nm", (1330, 1640), (_saturated_water,), 2, 0.75, 0.05, 8.0),
    LineFamily("water at 1940 nm", (1780, 2150), (_saturated_water,), 2, 0.75, 0.05, 10.0),
    LineFamily(
        "haemoglobin at 542 and 577 nm", (500, 620), (_blood(1.0), _blood(0.75), _blood(0.5)), 3,
        0.85, 0.05, 3.0,
    ),
)  # fmt: skip
"""Lines with a shape of their own."""

RED_EDGE: Final = "the red edge of vegetation"
_EDGE_WINDOW = (550.0, 830.0)
_EDGE_NM = 724.0
"""Mean position of the red edge by the centroid of the squared slope, 665 to 775 nm."""
_EDGE_SPREAD_NM = 7.0
"""Its spread over species and their chlorophyll: 717 to 734 nm were measured."""
_EDGE_CONTRAST = 0.5
"""Smallest log ratio of the near infrared to the red of a pixel of vegetation: an NDVI of 0.24."""
_EDGE_MAX_STEP_NM = 12.0
_SPIKE_NM = 25
"""Window of the median over wavelengths that removes the lines of oxygen from the red edge."""
_EDGE_MIN_PIXELS = 0.05
"""Smallest fraction of pixels of vegetation."""

SMALLEST_SHIFT_NM = 8.0
"""Smallest shift that is reported: nominal axes, with equal steps instead of the true ones, are off
by up to this on cameras in use."""
_SIGNIFICANT = 2.5
"""Smallest shift in standard deviations that is reported; lines that differ by more disagree."""


def find_lines(
    cube: SpectralCube, families: Sequence[LineFamily] = FAMILIES
) -> tuple[LineFit, ...]:
    """Find known lines in the spectra of a cube; reads a sample of its pixels.

    Args:
        cube: any; without wavelengths, or with bands too coarse for a line, nothing is found.
        families: lines to look for, beside the red edge.
    """
    prepared = _prepared(cube)
    if prepared is None:
        return ()
    logs, nm = prepared
    # All spectra enter the fits by their mean and their second moments only.
    groups = _averaged(logs)
    sample = _Sample(nm, logs.mean(axis=0), groups.T @ groups / len(groups))
    found = [_fit(family, sample) for family in families]
    return tuple(fit for fit in (*found, _red_edge(logs, nm)) if fit is not None)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Logarithms of spectra: (C,) wavelengths, (C,) mean and (C, C) second moments."""

    nm: Float64Array
    mean: Float64Array
    moments: Float64Array


def axis_shift(lines: Sequence[LineFit]) -> AxisShift | None:
    """Return the shift of the axis that lines agree on; None if they disagree or it is too small.

    Lines are weighted by their variances.
    """
    if not lines:
        return None
    shifts = np.array([line.shift_nm for line in lines])
    variances = np.array([line.spread_nm for line in lines]) ** 2
    weights = 1 / variances
    mean = float(weights @ shifts / weights.sum())
    uncertainty = float(np.sqrt(1 / weights.sum()))
    deviations = np.sqrt(np.maximum(variances - uncertainty**2, 0))  # from the mean of all lines
    if np.any(np.abs(shifts - mean) > _SIGNIFICANT * deviations + 1e-9):
        return None
    if abs(mean) < max(SMALLEST_SHIFT_NM, _SIGNIFICANT * uncertainty):
        return None
    unexplained = float(np.prod([1 - line.share for line in lines]))
    return AxisShift(mean, uncertainty, 1 - unexplained, tuple(lines))


def _prepared(cube: SpectralCube) -> tuple[Float64Array, Float64Array] | None:
    """Return logarithms of (n, C) spectra and their (C,) wavelengths in increasing order."""
    if cube.wavelengths is None or cube.n_bands < 16:
        return None
    try:
        cube = cube.usable_bands()
    except CubeError:
        return None
    assert cube.wavelengths is not None
    nm, first = np.unique(cube.wavelengths, return_index=True)
    spectra = sample_pixels(cube, _N_SPECTRA)[:, first].astype(np.float64)
    spectra = spectra[np.isfinite(spectra).all(axis=1)]
    if len(spectra) < 2:
        return None
    levels = np.median(spectra, axis=1)
    spectra = spectra[(levels > 0) & (levels >= _DARK * np.median(levels))]
    if len(spectra) < 2:
        return None
    return np.log(np.maximum(spectra, _FLOOR * np.median(spectra))), nm


def _averaged(logs: Float64Array) -> Float64Array:
    """Return the (groups, C) means of similar spectra, in which noise no longer hides a line."""
    shapes = logs - logs.mean(axis=1, keepdims=True)
    n_groups = min(_N_GROUPS, len(logs))
    order = KMeans(n_groups, n_init=1, max_iter=30, random_state=0).fit_predict(shapes)
    counts = np.bincount(order, minlength=n_groups)
    sums = np.zeros((n_groups, logs.shape[1]))
    np.add.at(sums, order, logs)
    used = counts >= max(1, len(logs) // (4 * n_groups))
    return np.asarray(sums[used] / counts[used, None])


def _fit(family: LineFamily, sample: _Sample) -> LineFit | None:
    """Fit a family of lines at every shift, and return the best if it is the line."""
    shifts = np.arange(-MAX_SHIFT_NM, MAX_SHIFT_NM + _STEP_NM / 2, _STEP_NM)
    fits = np.array([_share(family, sample, float(shift)) for shift in shifts])
    shares, depths = fits.T
    if family.is_emission_possible:
        depths = np.abs(depths)
    shares = np.where(depths > 0, shares, 0.0)
    best = int(np.argmax(shares))
    if not 0 < best < shifts.size - 1 or shares[best] < family.min_share:
        return None
    if depths[best] < family.min_depth:
        return None
    if 1 - _rival(shares, shifts, best) < _RIVAL_REST * (1 - shares[best]):
        return None
    return LineFit(family.name, float(shifts[best]), family.spread_nm, float(shares[best]))


def _rival(shares: Float64Array, shifts: Float64Array, best: int) -> float:
    """Return the largest other maximum of the share, at least `_RIVAL_NM` from the best one."""
    padded = np.concatenate([[0.0], shares, [0.0]])
    is_peak = (shares >= padded[:-2]) & (shares >= padded[2:])
    far = np.abs(shifts - shifts[best]) >= _RIVAL_NM
    return float(shares[is_peak & far].max(initial=0.0))


def _share(family: LineFamily, sample: _Sample, shift: float) -> tuple[float, float]:
    """Return what a shifted line explains of the rest of the continuum, and its mean depth.

    Both are 0 where the bands do not cover the window. The depth, an optical density, is negative
    for lines that stand out upwards.
    """
    low, high = family.window
    inside = (sample.nm + shift >= low) & (sample.nm + shift <= high)
    nm = sample.nm[inside] + shift
    if nm.size < family.degree + 5:
        return 0.0, 0.0
    steps = np.diff(nm, prepend=low, append=high)
    if steps.max() > _MAX_GAP * (high - low) or np.median(steps) > family.max_step_nm:
        return 0.0, 0.0
    position = (nm - low) / (high - low) * 2 - 1
    smooth = np.linalg.qr(np.vander(position, family.degree + 1))[0]
    rest = np.eye(nm.size) - smooth @ smooth.T
    moments = rest @ sample.moments[np.ix_(inside, inside)] @ rest
    energy = float(np.trace(moments))
    best = (0.0, 0.0)
    for shape in family.shapes:
        line = rest @ -shape(nm)
        line /= np.linalg.norm(line)
        depth = float(line @ sample.mean[inside]) * float(np.ptp(line))
        best = max(best, (float(line @ moments @ line) / energy if energy > 0 else 0.0, depth))
    return best


def _red_edge(logs: Float64Array, nm: Float64Array) -> LineFit | None:
    """Return the position of the red edge in pixels of vegetation, relative to the usual one."""
    low, high = _EDGE_WINDOW
    inside = (nm >= low - MAX_SHIFT_NM) & (nm <= high + MAX_SHIFT_NM)
    if nm[0] > low or nm[-1] < high or np.diff(nm[inside]).max() > 3 * _EDGE_MAX_STEP_NM:
        return None
    if np.median(np.diff(nm[inside])) > _EDGE_MAX_STEP_NM:
        return None
    at = np.arange(low, high + 1)
    values = np.exp([np.interp(at, nm, spectrum) for spectrum in logs])
    values = median_filter(values, (1, _SPIKE_NM))
    slopes = np.gradient(gaussian_filter1d(values, 4, axis=1), axis=1)
    edge = np.argmax(slopes * ((at > 660) & (at < 790)), axis=1)
    # Below the edge lies the well of chlorophyll, and orange light above it.
    beyond = _mean_log(values, edge + 35, edge + 55)
    well = _mean_log(values, edge - 65, edge - 35)
    orange = _mean_log(values, edge - 105, edge - 85)
    is_vegetation = (beyond - well > _EDGE_CONTRAST) & (orange > well)
    if np.count_nonzero(is_vegetation) < max(2, _EDGE_MIN_PIXELS * len(logs)):
        return None
    near = np.abs(at - at[edge[is_vegetation]][:, None]) <= 40
    squared = near * np.maximum(slopes[is_vegetation], 0) ** 2
    centroids = squared @ at / squared.sum(axis=1)
    spread = float(np.subtract(*np.percentile(centroids, (75, 25))))
    share = 1 / (1 + (spread / 20) ** 2)
    return LineFit(RED_EDGE, float(_EDGE_NM - np.median(centroids)), _EDGE_SPREAD_NM, share)


def _mean_log(
    values: Float64Array, first: NDArray[np.intp], last: NDArray[np.intp]
) -> Float64Array:
    """Return logarithms of the mean of each row of values between two of its indices, (n,)."""
    sums = np.cumsum(values, axis=1)
    rows = np.arange(len(values))
    low, high = np.clip(first, 0, None), np.clip(last, 1, values.shape[1] - 1)
    return np.asarray(np.log((sums[rows, high] - sums[rows, low]) / (high - low)))
