"""Simulation of image acquisition: illumination, shot and read noise, blur and shading."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from carl.arrays import Float32Array
from carl.simulation.camera import SimulatedCamera
from carl.simulation.chromophores import Spectrum

_SECOND_RADIATION_NM_K = 1.438777e7
"""Second radiation constant hc/k, nm·K."""
_LAMP_KELVIN = {"halogen": (2700.0, 3400.0), "sun": (5000.0, 6000.0)}
"""Ranges of colour temperatures, K."""
_P_BAD_BANDS = 0.15
"""Probability that a camera has bad bands."""
_MIN_LIGHT = 1e-3
"""Smallest signal of white in a band, relative to the brightest band."""


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Conditions of an acquisition with a camera of C bands.

    Attributes:
        light: (C,) signal of white in each band, from lamp, optics and sensor, relative to the
            brightest band.
        electrons: number of electrons of white in the brightest band.
        read_noise: of the sensor, electrons.
        blur: standard deviation of the optics' point spread function, pixels.
        shading: fraction of light lost in the corners.
        exposure: factor of all values, as from an imperfect white reference.
        referenced: True if values are divided by the light, as with a white reference; otherwise
            they are raw counts relative to white.
        bad_bands: (C,) True for bands that contain noise only.

    Examples:
        >>> import numpy as np
        >>> from carl.simulation import Acquisition, capture
        >>> acquisition = Acquisition(light=np.ones(3), electrons=500, blur=1.5)
        >>> scene = np.full((8, 8, 3), 0.5, np.float32)
        >>> recorded = capture(scene, acquisition, np.random.default_rng(0))
        >>> recorded.shape, bool(abs(recorded.mean() - 0.5) < 0.05)
        ((8, 8, 3), True)
    """

    light: NDArray[np.float64] = field(repr=False)
    electrons: float = 1e4
    read_noise: float = 10.0
    blur: float = 0.0
    shading: float = 0.0
    exposure: float = 1.0
    referenced: bool = True
    bad_bands: NDArray[np.bool_] | None = field(default=None, repr=False)


def perfect_acquisition(camera: SimulatedCamera) -> Acquisition:
    """Return an acquisition without noise, blur or shading, which leaves a scene unchanged."""
    return Acquisition(np.ones(camera.n_bands), electrons=np.inf, read_noise=0.0)


def random_acquisition(generator: Generator, camera: SimulatedCamera) -> Acquisition:
    """Draw a plausible lamp, sensor and settings."""
    light = lamp_spectrum(generator, camera.wavelengths) * _sensor(generator, camera.wavelengths)
    light **= generator.uniform(0, 1)  # many cameras expose dim bands longer
    light *= camera.fwhm ** generator.uniform(0, 1)
    bad_bands = None
    if generator.random() < _P_BAD_BANDS:
        bad_bands = generator.random(camera.n_bands) < generator.uniform(0, 0.1)
        bad_bands[int(generator.integers(camera.n_bands))] = False
    return Acquisition(
        light=np.maximum(light / light.max(), _MIN_LIGHT),
        electrons=float(10 ** generator.uniform(2.8, 5)),
        read_noise=float(10 ** generator.uniform(0.3, 1.5)),
        blur=float(generator.choice((0.0, generator.uniform(0.3, 1.5)))),
        shading=float(generator.uniform(0, 0.4) ** 2),
        exposure=float(np.exp(generator.normal(0, 0.15))),
        referenced=bool(generator.random() < 0.8),
        bad_bands=bad_bands,
    )


def capture(
    scene: Float32Array, acquisition: Acquisition, generator: Generator | None = None
) -> Float32Array:
    """Simulate the acquisition of a scene.

    Shot noise is Gaussian with the variance of a Poisson distribution, a good approximation from
    about ten electrons. The white reference is free of noise, like an average of many frames.

    Args:
        scene: (H, W, C) reflectance or transmittance; overwritten.
        acquisition: its conditions.
        generator: of the noise; may be None for an acquisition without noise.

    Returns:
        (H, W, C) float32; without white reference, raw counts relative to those of white in the
        brightest band.
    """
    if acquisition.blur > 0:
        for axis in (0, 1):
            ndimage.gaussian_filter1d(scene, acquisition.blur, axis, output=scene, mode="reflect")
    if acquisition.shading > 0:
        scene *= _shading(scene.shape[:2], acquisition.shading)[..., None]
    light = acquisition.light.astype(np.float32)
    if np.isfinite(acquisition.electrons):
        if generator is None:
            raise ValueError("noise needs a generator: give a numpy.random.Generator")
        _add_noise(scene, acquisition, generator)
    scene *= acquisition.exposure * (np.float32(1) if acquisition.referenced else light)
    return scene


def _add_noise(scene: Float32Array, acquisition: Acquisition, generator: Generator) -> None:
    """Add shot and read noise, in units of the signal of white in each band."""
    white = (acquisition.electrons * acquisition.light).astype(np.float32)
    noise = np.maximum(scene, 0)
    noise *= 1 / white
    noise += (acquisition.read_noise / white) ** 2
    np.sqrt(noise, out=noise)
    noise *= generator.standard_normal(scene.shape, dtype=np.float32)
    scene += noise
    if acquisition.bad_bands is not None and acquisition.bad_bands.any():
        bad = acquisition.bad_bands
        noisy = generator.standard_normal((*scene.shape[:2], int(bad.sum())), dtype=np.float32)
        scene[..., bad] = 0.5 * noisy


def lamp_spectrum(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw the spectrum of a lamp, relative to its maximum: halogen, sun, white LED or xenon.

    Halogen and sun are black bodies (Planck's law, in photons). The LED is a blue line and the band
    of its phosphor, over a background of 5 % from other light sources. Xenon is flat.
    """
    kind = str(generator.choice(("halogen", "sun", "led", "xenon"), p=(0.4, 0.25, 0.2, 0.15)))
    if kind in _LAMP_KELVIN:
        kelvin = generator.uniform(*_LAMP_KELVIN[kind])
        light = nm**-4.0 / np.expm1(_SECOND_RADIATION_NM_K / (nm * kelvin))
    elif kind == "led":
        blue = generator.uniform(0.3, 1.5) * np.exp(-0.5 * ((nm - 452) / 11) ** 2)
        light = 0.05 + blue + np.exp(-0.5 * ((nm - generator.uniform(560, 610)) / 55) ** 2)
    else:
        light = np.ones_like(nm)
    return np.asarray(light / light.max())


def _sensor(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw a relative quantum efficiency: silicon up to 1000 nm, another sensor beyond."""
    peak = generator.uniform(520, 700)
    silicon = np.exp(-0.5 * ((nm - peak) / np.where(nm < peak, 160, 180)) ** 2)
    return np.where(nm < 1000, np.maximum(silicon, 0.08), 0.7)


def _shading(shape: tuple[int, int], lost: float) -> Float32Array:
    """Return the light relative to the centre, which falls with the squared distance from it."""
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    return np.asarray(1 - lost / 2 * (rows[:, None] ** 2 + columns**2), np.float32)
