"""Cameras for simulation: Gaussian or measured filters, of known or random cameras.

Filters are applied by quadrature: spectra are computed at a few wavelengths chosen for the camera
and weighted. For sampled spectra, such as those of a measured cube, the weights are exact if the
spectra are linear between samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy.special import ndtr

from carl.arrays import Float32Array
from carl.errors import WavelengthError
from carl.simulation.chromophores import Spectrum
from carl.wavelengths import Camera, check_wavelengths, read_wavelength_table, shipped_cameras
from carl.wavelengths import camera as find_camera

RANGE_NM = (380.0, 2500.0)
"""Range of the absorption data."""

FWHM = 2 * np.sqrt(2 * np.log(2))
"""FWHM of a Gaussian in standard deviations."""
_NARROW_FWHM_NM = 16.0
"""Width up to which two wavelengths per filter suffice: haemoglobin has wider bands."""
_STEP_NM = 8.0
"""Step of the quadrature of wide filters."""
_REACH = 3.0
"""Half width of the quadrature of wide filters, in standard deviations."""
_TABLE_STEP_NM = 4.0
"""Step of the quadrature of measured filters."""
_MIN_FWHM_NM, _MAX_FWHM_NM = 2.0, 120.0
"""Widths of random filters."""


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedCamera:
    """A camera with C bands.

    Attributes:
        name: display name.
        wavelengths: (C,) centres of the bands in nm; centroids of measured filters.
        fwhm: (C,) full widths at half maximum in nm; for measured filters, of a Gaussian with the
            same standard deviation.
        nodes: (M,) wavelengths in nm at which spectra are computed.
        weights: (M, C) weights of the nodes for the bands; columns sum to 1.
        responses: measured filters as (wavelengths (G,), responses (G, C)), or None for Gaussian
            filters.

    Examples:
        >>> from carl.simulation import gaussian_camera
        >>> camera = gaussian_camera([450, 550, 650], fwhm=20, name="filter wheel")
        >>> camera
        <SimulatedCamera 'filter wheel': 3 bands, 450–650 nm>
        >>> camera.choose([0, 2]).wavelengths
        array([450., 650.])
    """

    name: str
    wavelengths: Spectrum
    fwhm: Spectrum
    nodes: Spectrum
    weights: Float32Array
    responses: tuple[Spectrum, Spectrum] | None = None

    def __repr__(self) -> str:
        nm, n = self.wavelengths, self.n_bands
        return f"<SimulatedCamera {self.name!r}: {n} bands, {nm.min():g}–{nm.max():g} nm>"

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return int(self.wavelengths.size)

    def choose(self, bands: ArrayLike) -> SimulatedCamera:
        """Return the camera with some of its bands, given by index."""
        chosen = np.asarray(bands, np.intp)
        if self.responses is not None:
            nm, responses = self.responses
            return tabulated_camera(nm, responses[:, chosen], self.name)
        return gaussian_camera(self.wavelengths[chosen], self.fwhm[chosen], self.name)


def gaussian_camera(
    wavelengths: ArrayLike, fwhm: ArrayLike, name: str = "camera"
) -> SimulatedCamera:
    """Return a camera with Gaussian filters.

    Args:
        wavelengths: (C,) centres in nm.
        fwhm: full widths at half maximum in nm, (C,) or one for all.
        name: display name.

    Raises:
        WavelengthError: not positive numbers, or not one width per band.
    """
    centres = check_wavelengths(wavelengths)
    widths = np.asarray(fwhm, np.float64)
    if widths.shape not in ((), centres.shape):
        raise WavelengthError(
            f"{widths.size} widths were given for {centres.size} bands: give one, or one per band."
        )
    if not (np.isfinite(widths) & (widths > 0)).all():
        raise WavelengthError("The widths of filters must all be positive numbers, in nm.")
    widths = np.broadcast_to(widths, centres.shape).copy()
    nodes, weights = _quadrature(centres, widths / FWHM)
    return SimulatedCamera(name, centres, widths, nodes, weights)


def tabulated_camera(nm: ArrayLike, responses: ArrayLike, name: str = "camera") -> SimulatedCamera:
    """Return a camera with measured filters, linear between the wavelengths of a table.

    Args:
        nm: (G,) wavelengths of the table, increasing.
        responses: (G, C) response of each band on any scale, at least 0.
        name: display name.

    Raises:
        WavelengthError: the table is malformed, or the response of a band is 0 everywhere.
    """
    table_nm = check_wavelengths(nm)
    table = np.asarray(responses, np.float64)
    if table.ndim != 2 or table.shape[0] != table_nm.size or np.any(np.diff(table_nm) <= 0):
        raise WavelengthError(
            f"The filters of {name} are not a table: give increasing wavelengths in nm, and one "
            "column of responses per band."
        )
    if not np.isfinite(table).all() or table.min() < 0 or not table.sum(axis=0).all():
        raise WavelengthError(
            f"A filter of {name} is negative, not a number, or 0 everywhere: correct its column."
        )
    grid = np.arange(table_nm[0] - _TABLE_STEP_NM, table_nm[-1] + _TABLE_STEP_NM, _TABLE_STEP_NM)
    weights = tabulated_weights(grid, table_nm, table)
    used = weights.any(axis=1)
    nodes, weights = grid[used], weights[used]
    centroids = nodes @ weights
    spread = np.sqrt(np.maximum(nodes**2 @ weights - centroids**2, 0))
    fwhm = np.maximum(FWHM * spread, _TABLE_STEP_NM)
    return SimulatedCamera(
        name, np.asarray(centroids, np.float64), fwhm, nodes, weights, (table_nm, table)
    )


def known_camera(camera: Camera | str | Path) -> SimulatedCamera:
    """Return a camera with known bands; unknown widths (FWHM) are set to the band spacing.

    Args:
        camera: one of `carl.cameras`, its name, or a CSV with a wavelength and, optionally, a
            width (FWHM) per band, in nm.

    Raises:
        WavelengthError: the name is unknown, or the file is not such a table.
    """
    if not isinstance(camera, Camera):
        path = Path(camera)
        if path.suffix.lower() == ".csv":
            table = read_wavelength_table(path)
            camera = Camera(path.stem, "", table.wavelengths, table.fwhm)
        else:
            camera = find_camera(str(camera))
    fwhm = camera.fwhm if camera.fwhm is not None else band_spacing(camera.wavelengths)
    return gaussian_camera(camera.wavelengths, fwhm, camera.name)


def band_spacing(wavelengths: Spectrum) -> Spectrum:
    """Return the (C,) distance of each band to its neighbours in nm; 10 nm for a single band."""
    centres, index = np.unique(wavelengths, return_inverse=True)
    return np.asarray(
        np.gradient(centres)[index] if centres.size > 1 else np.full(index.size, 10.0)
    )


def random_camera(
    generator: Generator,
    bands: tuple[int, int] = (3, 224),
    range_nm: tuple[float, float] = RANGE_NM,
) -> SimulatedCamera:
    """Draw a plausible camera: regular or irregular bands, a few broad filters, or a known one.

    It has from `bands[0]` to `bands[1]` bands, with centres in `range_nm`.
    """
    kind = generator.choice(("regular", "irregular", "broad", "known"), p=(0.45, 0.25, 0.15, 0.15))
    if kind == "known":
        known = [
            camera
            for camera in shipped_cameras()
            if bands[0] <= camera.n_bands <= bands[1]
            and range_nm[0] <= camera.wavelengths.min()
            and camera.wavelengths.max() <= range_nm[1]
        ]
        if known:
            return known_camera(known[int(generator.integers(len(known)))])
    # Log-uniform: half of the cameras have fewer than about 26 bands, for the range from 3 to 224.
    n = int(np.exp(generator.uniform(np.log(bands[0]), np.log(bands[1] + 1))))
    if kind == "broad":
        n = min(n, max(bands[0], 12))
    low, high = _random_range(generator, range_nm, minimum=4.0 * n)
    if kind == "regular" or n == 1:
        centres = np.linspace(low, high, n)
        fwhm = np.full(n, (high - low) / max(n - 1, 1)) * generator.uniform(0.5, 2.0)
    elif kind == "irregular":
        centres = _irregular(generator, n, low, high)
        fwhm = band_spacing(centres) * generator.uniform(0.4, 1.6, n)
    else:
        centres = _irregular(generator, n, low, high)
        fwhm = generator.uniform(40, _MAX_FWHM_NM, n)
    inside = 2 * np.minimum(centres - RANGE_NM[0], RANGE_NM[1] - centres) + 10
    fwhm = np.clip(fwhm, _MIN_FWHM_NM, np.minimum(inside, _MAX_FWHM_NM))
    return gaussian_camera(centres, fwhm, str(kind))


def gaussian_weights(nm: Spectrum, centres: Spectrum, sigma: Spectrum) -> Float32Array:
    """Compute weights of Gaussian filters for spectra that are linear between samples.

    A weight is the integral of the Gaussian times the hat function of the sample. In closed form it
    is the difference of the slopes, on the two sides of the hat, of G(x) = σ (z Φ(z) + φ(z)) with
    z = (x − centre)/σ, whose second derivative is the Gaussian. Beyond the outermost samples,
    spectra are constant. A σ of 0 interpolates linearly.

    Args:
        nm: (N,) wavelengths of the samples, strictly increasing.
        centres: (C,) of the filters in nm.
        sigma: (C,) standard deviations in nm.

    Returns:
        (N, C) weights for ``spectra @ weights``, at least 0; columns sum to 1.
    """
    if nm.size == 1:
        return np.ones((1, centres.size), np.float32)
    width = np.maximum(sigma, 1e-6)
    z = (nm[:, None] - centres) / width
    integral = width * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))
    slopes = np.diff(integral, axis=0) / np.diff(nm)[:, None]
    weights = np.diff(slopes, axis=0, prepend=0, append=1)
    return np.asarray(np.maximum(weights, 0), np.float32)


def tabulated_weights(nm: Spectrum, table_nm: Spectrum, table: Spectrum) -> Float32Array:
    """Compute (N, C) weights of measured filters, with the properties of `gaussian_weights`.

    The (G, C) responses of the table are linear between its (G,) increasing wavelengths, and 0
    beyond them.
    """
    fine = np.union1d(np.arange(table_nm[0], table_nm[-1]), table_nm)
    responses = np.stack([np.interp(fine, table_nm, column) for column in table.T], axis=1)
    if fine.size > 1:
        responses *= np.gradient(fine)[:, None]
    before = np.clip(np.searchsorted(nm, fine, "right") - 1, 0, max(nm.size - 2, 0))
    after = np.minimum(before + 1, nm.size - 1)
    position = (fine - nm[before]) / np.maximum(nm[after] - nm[before], 1e-9)
    fraction = np.clip(position, 0, 1)[:, None]
    weights = np.zeros((nm.size, table.shape[1]))
    np.add.at(weights, before, responses * (1 - fraction))
    np.add.at(weights, after, responses * fraction)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def _quadrature(centres: Spectrum, sigma: Spectrum) -> tuple[Spectrum, Float32Array]:
    """Return wavelengths (M,) and weights (M, C) that integrate smooth spectra over Gaussians.

    A narrow filter has two wavelengths of its own (Gauss-Hermite quadrature). Wide filters share a
    regular grid, which is accurate if its step is not much larger than σ.
    """
    wide = sigma * FWHM > _NARROW_FWHM_NM
    own = (centres[:, None] + sigma[:, None] * (-1, 1))[~wide].ravel()
    lowest, highest = ((centres + sign * _REACH * sigma) / _STEP_NM for sign in (-1, 1))
    grid = _STEP_NM * np.arange(np.floor(lowest.min()), np.ceil(highest.max()) + 1)
    z = (grid[:, None] - centres) / sigma
    shared = np.where(wide & (np.abs(z) <= _REACH), np.exp(-0.5 * z**2), 0)
    used = shared.any(axis=1)
    weights = np.zeros((own.size + int(used.sum()), centres.size))
    weights[np.arange(own.size), np.repeat(np.flatnonzero(~wide), 2)] = 1
    weights[own.size :] = shared[used]
    weights /= weights.sum(axis=0)
    return np.concatenate([own, grid[used]]), weights.astype(np.float32)


def _random_range(
    generator: Generator, range_nm: tuple[float, float], minimum: float
) -> tuple[float, float]:
    """Draw a range that a kind of sensor covers, at least `minimum` wide if possible."""
    parts = ((400, 720), (380, 780), (500, 1000), (400, 1000), (650, 1000), (900, 1700),
             (1000, 2500), (400, 2500), range_nm)  # fmt: skip
    low, high = parts[int(generator.integers(len(parts)))]
    low, high = max(low, range_nm[0]), min(high, range_nm[1])
    if high - low < minimum:
        low, high = range_nm
    slack = max(high - low - minimum, 0.0)
    low += generator.uniform(0, 0.25) * slack
    return float(low), float(high - generator.uniform(0, 0.25) * slack)


def _irregular(generator: Generator, n: int, low: float, high: float) -> Spectrum:
    """Draw sorted centres with random gaps of at least a quarter of the mean gap."""
    gaps = 0.25 + generator.exponential(0.75, n)
    ends = np.cumsum(gaps)
    return np.asarray(low + (high - low) * (ends - ends[0]) / max(ends[-1] - ends[0], 1e-9))
