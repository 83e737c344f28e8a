"""Random reflectance spectra of plants, soils, minerals, water, snow, cloth and metal.

The spectra have the right absorption features at the right wavelengths, with random proportions.
They do not model specific plants or rocks: they give a network spectra other than those of tissue.
Features after R. N. Clark, "Spectroscopy of Rocks and Minerals", Manual of Remote Sensing 3, 1999;
leaves after the absorbers in Jacquemoud & Baret's PROSPECT, Remote Sens. Environ. 34, 75, 1990;
waters after H. R. Gordon et al., J. Geophys. Res. 93, 10909, 1988.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import Generator

from carl.simulation.chromophores import Spectrum, absorption, gaussians

Material = Callable[[Generator, Spectrum], Spectrum]


def vegetation(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw leaves: chlorophyll, carotenoids, leaf water and dry matter in a bright scatterer."""
    chlorophyll = 10 ** generator.uniform(-0.2, 1) * gaussians(
        nm, ((1.0, 430, 25), (0.7, 460, 20), (0.27, 560, 45), (0.35, 620, 22), (0.8, 672, 14))
    )
    carotenoids = generator.uniform(0.1, 3) * gaussians(nm, ((1.0, 450, 20), (0.9, 480, 17)))
    water = generator.uniform(0.004, 0.03) * absorption("water", nm)
    dry = generator.uniform(0.01, 0.08) * gaussians(
        nm, ((0.6, 1730, 40), (1.0, 2100, 60), (1.5, 2310, 70))
    )
    return generator.uniform(0.5, 0.75) * _thick_layer(chlorophyll + carotenoids + water + dry)


def trees(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw tree crowns: leaves and their shadows, which transmitted light brightens."""
    leaves = vegetation(generator, nm)
    lit = generator.uniform(0.3, 0.7)
    return lit * leaves / (1 - (1 - lit) * leaves)


def built(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw streets and roofs: asphalt and concrete, which rise slowly, or red tiles with iron."""
    grey = generator.uniform(0.05, 0.45) * (nm / 1000) ** generator.uniform(0.05, 0.4)
    tiles = 1 / (1 + np.exp(-(nm - generator.uniform(560, 600)) / 25))
    iron = 0.3 * gaussians(nm, ((1.0, 870, 70),))
    red = generator.uniform(0.15, 0.4) * (0.25 + 0.75 * tiles) * np.exp(-iron)
    fraction = generator.choice((0.0, generator.uniform(0, 1)))
    return np.asarray((1 - fraction) * grey + fraction * red)


def soil(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw soils, which rise from blue to infrared, with iron oxides, water and clay."""
    bright = generator.uniform(0.15, 0.55)
    rise = 1 - np.exp(-(nm - 300) / generator.uniform(200, 700))
    iron = generator.uniform(0, 0.3) * gaussians(nm, ((1.0, 500, 60), (0.5, 870, 70)))
    return bright * rise * np.exp(-iron - _moisture(generator, nm) - _clay(generator, nm))


def mineral(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw bare rock: a smooth slope with strong, narrow bands of clay, carbonate and iron."""
    slope = (nm / 1200) ** generator.uniform(-0.2, 0.5)
    carbonate = generator.uniform(0, 0.5) * gaussians(nm, ((1.0, 2335, 28), (0.3, 2155, 20)))
    iron = generator.uniform(0, 0.8) * gaussians(
        nm, ((1.0, 480, 50), (0.4, 660, 40), (0.6, 900, 80))
    )
    features = iron + carbonate + 2 * _clay(generator, nm) + 0.3 * _moisture(generator, nm)
    return generator.uniform(0.2, 0.6) * slope * np.exp(-features)


def water_body(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw deep water: backscatter of particles in water with algae and humic matter."""
    algae = 10 ** generator.uniform(-1, 1.3) * gaussians(nm, ((0.04, 440, 35), (0.02, 675, 12)))
    humic = 10 ** generator.uniform(-1.5, 0.5) * np.exp(-0.016 * (nm - 440))
    scattered = 10 ** generator.uniform(-3, -0.3) * (nm / 550) ** -generator.uniform(0.3, 1.5)
    absorbed = 100 * absorption("water", nm) + algae + humic  # all in 1/m
    return 0.02 + 0.33 * scattered / (absorbed + scattered)


def snow(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw snow: bright, with absorption by the ice of its grains in the infrared."""
    grains = 10 ** generator.uniform(-2, -0.5)
    return generator.uniform(0.8, 0.98) * _thick_layer(grains * absorption("water", nm))


def cloth(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw dyed cloth and plastic: a few dyes in the visible range and C-H bands beyond."""
    n = int(generator.integers(0, 4))
    dyes = sum(
        (
            generator.uniform(0.3, 3) * gaussians(nm, ((1.0, centre, width),))
            for centre, width in zip(
                generator.uniform(400, 750, n), generator.uniform(25, 90, n), strict=True
            )
        ),
        start=np.zeros_like(nm),
    )
    fibre = generator.uniform(0, 0.5) * gaussians(
        nm, ((0.4, 1210, 25), (1.0, 1690, 35), (0.8, 2130, 50), (1.5, 2310, 50))
    )
    return generator.uniform(0.3, 0.9) * _thick_layer(0.3 * (dyes + fibre))


def metal(generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw metal: flat, or rising slowly."""
    return generator.uniform(0.1, 0.7) * (nm / 1000) ** generator.uniform(0, 0.3)


MATERIALS: Final[dict[str, Material]] = {
    "vegetation": vegetation,
    "trees": trees,
    "built": built,
    "soil": soil,
    "mineral": mineral,
    "water body": water_body,
    "snow": snow,
    "cloth": cloth,
    "metal": metal,
}
"""Functions that draw a reflectance spectrum at (N,) wavelengths in nm, by name."""


def material_spectrum(name: str, generator: Generator, nm: Spectrum) -> Spectrum:
    """Draw the reflectance of one of `MATERIALS` at (N,) wavelengths, clipped to 0..1."""
    return np.clip(MATERIALS[name](generator, nm), 0, 1)


def _moisture(generator: Generator, nm: Spectrum) -> Spectrum:
    bands = ((0.15, 970, 30), (0.3, 1190, 40), (1.0, 1440, 45), (1.6, 1930, 50))
    return np.asarray(generator.uniform(0, 0.5) * gaussians(nm, bands))


def _clay(generator: Generator, nm: Spectrum) -> Spectrum:
    centre = generator.uniform(2160, 2210)
    return np.asarray(
        generator.uniform(0, 0.3) * gaussians(nm, ((1.0, centre, 20), (0.5, 1412, 15)))
    )


def _thick_layer(ratio: Spectrum) -> Spectrum:
    """Compute the reflectance of an infinitely thick layer from absorption over scattering, K/S.

    P. Kubelka and F. Munk, 1931: R = 1 + K/S − √((K/S)² + 2 K/S).
    """
    return np.asarray(1 + ratio - np.sqrt(ratio**2 + 2 * ratio))
