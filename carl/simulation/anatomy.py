"""Made-up organs and skin: what they contain, pixel by pixel.

The ranges follow the typical values collected in S. L. Jacques, Phys. Med. Biol. 58, R37, 2013,
tables 1 to 4, widened so that a network does not learn one laboratory's habits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.simulation.fields import Shape, ridges, smooth_fields, vessels, voronoi_regions

Maps = dict[str, Float32Array]
Range = tuple[float, float]

_SHARES = ("oxygenation", "water", "fat", "rayleigh")
_AMOUNTS = ("blood", "bilirubin", "melanin", "scatter")
VESSELS: Final[dict[str, Range]] = {"artery": (0.9, 1.0), "vein": (0.35, 0.75)}
"""Vessels that may be seen, and how much oxygen their blood carries."""
_LEAST_VESSEL = 0.4
"""A pixel is labelled as vessel where light crosses this share of a trunk's diameter."""
_SHARE_WITH_GLARE, _SHARE_ISCHAEMIC = 0.4, 0.25
_MOST_SHEEN = 0.04
"""Light that a surface mirrors straight into the camera, where no polariser keeps it out."""
_REFERENCE_SIDE = 64


@dataclass(frozen=True)
class Tissue:
    """Ranges of what one kind of tissue contains; see `carl.simulation.tissue` for units."""

    blood: Range
    oxygenation: Range = (0.4, 0.95)
    water: Range = (0.65, 0.8)
    fat: Range = (0.0, 0.05)
    bilirubin: Range = (0.05, 0.6)
    melanin: Range = (0.0, 0.0)
    scatter: Range = (10.0, 30.0)
    rayleigh: Range = (0.05, 0.35)


ORGANS: Final[dict[str, Tissue]] = {
    "muscle": Tissue((0.02, 0.1), (0.4, 0.85), (0.7, 0.8), scatter=(7, 16)),
    "mucosa": Tissue((0.02, 0.1), (0.5, 0.95), scatter=(12, 28)),
    "serosa": Tissue((0.01, 0.05), (0.5, 0.95), scatter=(15, 40)),
    "fat": Tissue((0.002, 0.015), (0.4, 0.95), (0.08, 0.25), (0.6, 0.9), (1, 8), scatter=(11, 25)),
    "liver": Tissue(
        (0.08, 0.25), (0.2, 0.75), (0.65, 0.75), (0.01, 0.2), (0.3, 3), scatter=(8, 20)
    ),
    "spleen": Tissue((0.15, 0.35), (0.4, 0.85), (0.75, 0.82), scatter=(10, 22)),
    "kidney": Tissue((0.08, 0.25), (0.4, 0.9), (0.75, 0.83), scatter=(10, 25)),
    "brain": Tissue((0.01, 0.06), (0.45, 0.85), (0.7, 0.85), (0.05, 0.15), scatter=(15, 45)),
    "connective": Tissue((0.001, 0.01), (0.5, 0.95), (0.55, 0.75), scatter=(20, 50)),
    "cartilage": Tissue((0.001, 0.005), (0.5, 0.95), (0.65, 0.8), scatter=(12, 30)),
    "bile-stained": Tissue((0.01, 0.05), (0.4, 0.9), bilirubin=(5, 60), scatter=(10, 30)),
    "tumour": Tissue((0.02, 0.15), (0.15, 0.7), (0.75, 0.88), scatter=(8, 22)),
}
SKIN: Final = Tissue(
    blood=(0.003, 0.03),
    water=(0.55, 0.75),
    fat=(0.0, 0.08),
    bilirubin=(0.05, 1),
    melanin=(0.01, 0.25),
    scatter=(25, 60),
    rayleigh=(0.2, 0.5),
)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Maps of what is where.

    Attributes:
        maps: (H, W) float32 by name of the parameter.
        labels: (H, W) uint8, the region of each pixel, from 1.
        classes: name of each region's kind: that of label 1 first.
    """

    maps: Maps
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]


def organ_anatomy(generator: Generator, shape: Shape) -> Anatomy:
    """A few kinds of tissue side by side, crossed by vessels, perhaps with a pale or wet part."""
    n = int(generator.integers(1, 6))
    names = [str(name) for name in generator.choice(list(ORGANS), n, replace=False)]
    size = max(shape) / _REFERENCE_SIDE
    regions = voronoi_regions(generator, shape, n, 5 * size, generator.uniform(4, 12) * size)
    maps = _contents(generator, [ORGANS[name] for name in names], regions)
    if generator.random() < _SHARE_ISCHAEMIC:
        where = 1 / (1 + np.exp(-4 * smooth_fields(generator, 1, shape, 14 * size)[0]))
        maps["oxygenation"] *= 1 - np.float32(generator.uniform(0.3, 0.9)) * where
    labels = regions + np.uint8(1)
    for kind, oxygenation in VESSELS.items():
        if generator.random() < 0.6:
            visible = _add_vessels(generator, maps, oxygenation, size)
            names.append(kind)
            labels[visible > _LEAST_VESSEL] = len(names)
    return Anatomy(maps, labels, tuple(names))


def skin_anatomy(generator: Generator, shape: Shape) -> Anatomy:
    """Skin with veins below it, and perhaps moles."""
    size = max(shape) / _REFERENCE_SIDE
    maps = _contents(generator, [SKIN], np.zeros(shape, np.uint8))
    labels = np.ones(shape, np.uint8)
    names = ["skin"]
    if generator.random() < 0.5:
        # Deep veins are dim and blurred: their shadow, not their blood, reaches the surface.
        shadow = _add_vessels(generator, maps, VESSELS["vein"], size, strength=(0.01, 0.06))
        names.append("vein")
        labels[shadow > _LEAST_VESSEL] = len(names)
    if generator.random() < 0.5:
        field = smooth_fields(generator, 1, shape, generator.uniform(2, 5) * size)[0]
        mole = np.clip(3 * (field - generator.uniform(1.8, 2.6)), 0, 1)
        added = np.float32(generator.uniform(0.05, 0.4))
        maps["melanin"] += mole * added
        names.append("mole")
        labels[mole > 0.5] = len(names)
    return Anatomy(maps, labels, tuple(names))


def _contents(generator: Generator, tissues: list[Tissue], regions: NDArray[np.uint8]) -> Maps:
    """Maps of all parameters: a level for each region, varied by smooth fields."""
    shape = (regions.shape[0], regions.shape[1])
    size = max(shape) / _REFERENCE_SIDE
    coarse = smooth_fields(generator, 8, shape, generator.uniform(6, 18) * size)
    fine = smooth_fields(generator, 2, shape, generator.uniform(0.7, 2.5))
    maps = {}
    for field, name in zip(coarse, (*_AMOUNTS, *_SHARES), strict=True):
        low, high = np.array([getattr(tissue, name) for tissue in tissues]).T
        if name in _AMOUNTS:  # from a thousandth to all: drawn and varied by factors
            level = np.exp(generator.uniform(np.log(np.maximum(low, 1e-6)), np.log(high + 1e-6)))
            level *= high > 0
            maps[name] = level.astype(np.float32)[regions] * np.exp(0.2 * field)
        else:
            level = generator.uniform(low, high)
            maps[name] = np.clip(level.astype(np.float32)[regions] + 0.05 * field, 0, 1)
    maps["blood"] *= np.exp(np.float32(generator.uniform(0, 0.2)) * fine[0])
    capillaries = ridges(generator, shape, generator.uniform(1.5, 4) * size)
    maps["blood"] *= 1 + np.float32(generator.uniform(0, 0.8)) * capillaries
    maps["scatter"] *= np.exp(np.float32(generator.uniform(0, 0.1)) * fine[1])
    np.minimum(maps["blood"], 0.9, out=maps["blood"])
    filled = np.maximum(maps["water"] + maps["fat"], 1)
    maps["water"] /= filled
    maps["fat"] /= filled
    maps["glare"] = _glare(generator, shape)
    return maps


def _add_vessels(
    generator: Generator, maps: Maps, oxygenation: Range, size: float, strength: Range = (0.1, 0.6)
) -> Float32Array:
    """Put vessels into the maps; returns the share of a trunk's diameter seen in each pixel."""
    shape = (maps["blood"].shape[0], maps["blood"].shape[1])
    visible = vessels(
        generator, shape, int(generator.integers(1, 4)), 0.8 * 4 ** generator.random() * size
    )
    carried = np.float32(generator.uniform(*oxygenation))
    inside = np.minimum(generator.uniform(*strength) * visible, 1 - maps["blood"])
    blood = maps["blood"] + inside
    maps["oxygenation"] += inside / blood * (carried - maps["oxygenation"])
    maps["blood"] = blood
    return visible


def _glare(generator: Generator, shape: Shape) -> Float32Array:
    """Light that the surface mirrors: a little everywhere, and bright spots where it is wet."""
    glare = np.full(shape, generator.uniform(0, _MOST_SHEEN), np.float32)
    if generator.random() < _SHARE_WITH_GLARE:
        field = smooth_fields(generator, 1, shape, generator.uniform(1, 4))[0]
        glare += np.clip(0.6 * (field - generator.uniform(1.7, 2.7)), 0, 0.8)
    return glare
