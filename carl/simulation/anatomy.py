"""Random anatomies of organs, skin and stained sections: maps of their contents and labels.

The ranges of tissue follow the typical values in S. L. Jacques, "Optical properties of biological
tissues: a review", Phys. Med. Biol. 58, R37, 2013, tables 1 to 4, widened so that a network does
not learn the conditions of a single laboratory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.simulation.fields import Shape, nuclei, ridges, smooth_fields, vessels, voronoi_regions

Maps = dict[str, Float32Array]
Range = tuple[float, float]

_FRACTIONS = ("oxygenation", "water", "fat", "rayleigh")
"""Parameters between 0 and 1, varied by addition."""
_AMOUNTS = ("blood", "bilirubin", "melanin", "scatter")
"""Parameters that span orders of magnitude, varied by factors."""
VESSELS: Final[dict[str, Range]] = {"artery": (0.9, 1.0), "vein": (0.35, 0.75)}
"""Kinds of vessels, and the range of the oxygenation of their blood."""
_MIN_VESSEL = 0.4
"""Fraction of a trunk's diameter that light crosses in pixels labelled as vessel."""
_P_GLARE, _P_ISCHAEMIA = 0.4, 0.25
"""Probabilities of bright reflections and of an ischaemic part."""
_MAX_SHEEN = 0.04
"""Largest fraction of light that the surface reflects into a camera without polariser."""
_REFERENCE_SIDE = 64
"""Side of the image, in pixels, for which lengths are stated; they scale with the image."""


@dataclass(frozen=True)
class Tissue:
    """Ranges of the contents of a kind of tissue; units as in `TISSUE_PARAMETERS`."""

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
    blood=(0.003, 0.03), water=(0.55, 0.75), fat=(0.0, 0.08), bilirubin=(0.05, 1),
    melanin=(0.01, 0.25), scatter=(25, 60), rayleigh=(0.2, 0.5),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Contents and regions of a simulated specimen.

    Attributes:
        maps: (H, W) float32 maps by the name of the parameter.
        labels: (H, W) uint8 label of the region of each pixel, from 1.
        classes: names of the kinds of regions, that of label 1 first.
    """

    maps: Maps
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]


def organ_anatomy(generator: Generator, shape: Shape) -> Anatomy:
    """Draw regions of several tissues, crossed by vessels, possibly with an ischaemic part."""
    n = int(generator.integers(1, 6))
    names = [str(name) for name in generator.choice(list(ORGANS), n, replace=False)]
    size = max(shape) / _REFERENCE_SIDE
    regions = voronoi_regions(generator, shape, n, 5 * size, generator.uniform(4, 12) * size)
    maps = _contents(generator, [ORGANS[name] for name in names], regions)
    if generator.random() < _P_ISCHAEMIA:
        where = 1 / (1 + np.exp(-4 * smooth_fields(generator, 1, shape, 14 * size)[0]))
        maps["oxygenation"] *= 1 - np.float32(generator.uniform(0.3, 0.9)) * where
    labels = regions + np.uint8(1)
    for kind, oxygenation in VESSELS.items():
        if generator.random() < 0.6:
            visible = _add_vessels(generator, maps, oxygenation, size)
            names.append(kind)
            labels[visible > _MIN_VESSEL] = len(names)
    return Anatomy(maps, labels, tuple(names))


def skin_anatomy(generator: Generator, shape: Shape) -> Anatomy:
    """Draw skin, possibly with veins below it and moles."""
    size = max(shape) / _REFERENCE_SIDE
    maps = _contents(generator, [SKIN], np.zeros(shape, np.uint8))
    labels = np.ones(shape, np.uint8)
    names = ["skin"]
    if generator.random() < 0.5:
        # Deep veins appear weak and blurred: little of their blood is seen at the surface.
        shadow = _add_vessels(generator, maps, VESSELS["vein"], size, strength=(0.01, 0.06))
        names.append("vein")
        labels[shadow > _MIN_VESSEL] = len(names)
    if generator.random() < 0.5:
        field = smooth_fields(generator, 1, shape, generator.uniform(2, 5) * size)[0]
        mole = np.clip(3 * (field - generator.uniform(1.8, 2.6)), 0, 1)
        added = np.float32(generator.uniform(0.05, 0.4))
        maps["melanin"] += mole * added
        names.append("mole")
        labels[mole > 0.5] = len(names)
    return Anatomy(maps, labels, tuple(names))


def _contents(generator: Generator, tissues: list[Tissue], regions: NDArray[np.uint8]) -> Maps:
    """Draw maps of all parameters: a level for each region, varied by smooth fields."""
    shape = (regions.shape[0], regions.shape[1])
    size = max(shape) / _REFERENCE_SIDE
    coarse = smooth_fields(generator, 8, shape, generator.uniform(6, 18) * size)
    fine = smooth_fields(generator, 2, shape, generator.uniform(0.7, 2.5))
    maps = {}
    for field, name in zip(coarse, (*_AMOUNTS, *_FRACTIONS), strict=True):
        low, high = np.array([getattr(tissue, name) for tissue in tissues]).T
        if name in _AMOUNTS:  # drawn and varied by factors
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
    total = np.maximum(maps["water"] + maps["fat"], 1)
    maps["water"] /= total
    maps["fat"] /= total
    maps["glare"] = _glare(generator, shape)
    return maps


def _add_vessels(
    generator: Generator, maps: Maps, oxygenation: Range, size: float, strength: Range = (0.1, 0.6)
) -> Float32Array:
    """Add vessels to the maps and return them as `vessels` does."""
    shape = (maps["blood"].shape[0], maps["blood"].shape[1])
    visible = vessels(
        generator, shape, int(generator.integers(1, 4)), 0.8 * 4 ** generator.random() * size
    )
    vessel_oxygenation = np.float32(generator.uniform(*oxygenation))
    inside = np.minimum(generator.uniform(*strength) * visible, 1 - maps["blood"])
    blood = maps["blood"] + inside
    maps["oxygenation"] += inside / blood * (vessel_oxygenation - maps["oxygenation"])
    maps["blood"] = blood
    return visible


def _glare(generator: Generator, shape: Shape) -> Float32Array:
    """Draw the light reflected by the surface: weak everywhere, with bright spots if it is wet."""
    glare = np.full(shape, generator.uniform(0, _MAX_SHEEN), np.float32)
    if generator.random() < _P_GLARE:
        field = smooth_fields(generator, 1, shape, generator.uniform(1, 4))[0]
        glare += np.clip(0.6 * (field - generator.uniform(1.7, 2.7)), 0, 0.8)
    return glare


@dataclass(frozen=True)
class Compartment:
    """Ranges of the contents of a part of a section; stains as optical densities at their peaks."""

    nuclei: Range  # fraction of the area
    eosin: Range
    haematoxylin: Range  # outside nuclei
    blood: Range = (0.0, 0.0)
    texture: Range = (0.05, 0.2)  # relative variation of eosin


COMPARTMENTS: Final[dict[str, Compartment]] = {
    "lumen": Compartment((0, 0), (0, 0.01), (0, 0.005)),
    "epithelium": Compartment((0.25, 0.5), (0.15, 0.4), (0.04, 0.12)),
    "stroma": Compartment((0.03, 0.12), (0.15, 0.5), (0.01, 0.06), texture=(0.2, 0.5)),
    "muscle": Compartment((0.03, 0.08), (0.35, 0.8), (0.02, 0.06)),
    # Solvents wash haemoglobin out of a section, sometimes completely; the rest takes up eosin.
    "blood": Compartment((0, 0.01), (0.4, 1.1), (0.0, 0.03), (0.0, 0.6), texture=(0.2, 0.5)),
}


def section_anatomy(generator: Generator, shape: Shape) -> Anatomy:
    """Draw a stained section: epithelium, stroma, muscle and blood around open spaces."""
    size = max(shape) / _REFERENCE_SIDE
    n = int(generator.integers(2, 8))
    names = [str(name) for name in generator.choice(list(COMPARTMENTS), n)]
    regions = voronoi_regions(generator, shape, n, 5 * size, generator.uniform(3, 9) * size)
    chosen = [COMPARTMENTS[name] for name in names]

    def level(parameter: str) -> Float32Array:
        low, high = np.array([getattr(compartment, parameter) for compartment in chosen]).T
        return np.asarray(generator.uniform(low, high)[regions], np.float32)

    staining = np.exp(generator.uniform(np.log(0.5), np.log(1.8)))  # differs between laboratories
    thickness = staining * np.exp(0.1 * smooth_fields(generator, 1, shape, 15 * size)[0])
    inside = nuclei(generator, shape, level("nuclei"), generator.uniform(1.3, 3.5))
    fibres = _fibres(generator, shape) * level("texture")
    eosin = level("eosin") * np.maximum(1 + fibres, 0) * (1 - 0.5 * inside)
    in_nuclei = generator.uniform(0.5, 1.2) * (1 + 0.2 * smooth_fields(generator, 1, shape, 1)[0])
    haematoxylin = level("haematoxylin") * (1 - inside) + in_nuclei * inside
    maps = {
        "eosin": thickness * eosin,
        "haematoxylin": thickness * np.maximum(haematoxylin, 0),
        "blood": level("blood") * np.maximum(1 + fibres, 0),
        "oxygenation": np.full(shape, generator.uniform(0.5, 1), np.float32),
    }
    classes = tuple(dict.fromkeys(names))
    label_of = np.array([classes.index(name) + 1 for name in names], np.uint8)
    return Anatomy(
        {name: np.asarray(values, np.float32) for name, values in maps.items()},
        label_of[regions],
        classes,
    )


def _fibres(generator: Generator, shape: Shape) -> Float32Array:
    """Draw a field of stripes along curves, with a variance of about 1."""
    across, along = smooth_fields(generator, 2, shape, 10)
    stripes = generator.uniform(0.25, 0.8) * (
        np.arange(shape[0], dtype=np.float32)[:, None] * np.cos(turn := generator.uniform(0, np.pi))
        + np.arange(shape[1], dtype=np.float32) * np.sin(turn)
    )
    waves = np.sin(2 * np.pi * (stripes / 2 + across)) + smooth_fields(generator, 1, shape, 1.2)[0]
    return np.asarray(waves * np.exp(0.2 * along) / np.sqrt(1.5), np.float32)
