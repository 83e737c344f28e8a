"""Made-up stained sections: epithelium, stroma, muscle and blood around open spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator

from carl.arrays import Float32Array
from carl.simulation.anatomy import Anatomy, Range
from carl.simulation.fields import Shape, nuclei, smooth_fields, voronoi_regions

_REFERENCE_SIDE = 64


@dataclass(frozen=True)
class Compartment:
    """Ranges of what one part of a section holds; optical densities at the stains' peaks."""

    nuclei: Range  # share of its area
    eosin: Range
    haematoxylin: Range  # outside nuclei
    blood: Range = (0.0, 0.0)
    texture: Range = (0.05, 0.2)  # relative variation of eosin


COMPARTMENTS: Final[dict[str, Compartment]] = {
    "lumen": Compartment((0, 0), (0, 0.01), (0, 0.005)),
    "epithelium": Compartment((0.25, 0.5), (0.15, 0.4), (0.04, 0.12)),
    "stroma": Compartment((0.03, 0.12), (0.15, 0.5), (0.01, 0.06), texture=(0.2, 0.5)),
    "muscle": Compartment((0.03, 0.08), (0.35, 0.8), (0.02, 0.06)),
    # Solvents wash haemoglobin out of a section, sometimes all of it: what stays takes up eosin.
    "blood": Compartment((0, 0.01), (0.4, 1.1), (0.0, 0.03), (0.0, 0.6), texture=(0.2, 0.5)),
}


def section_anatomy(generator: Generator, shape: Shape) -> Anatomy:
    """A stained section, with truth for both stains and for blood."""
    size = max(shape) / _REFERENCE_SIDE
    n = int(generator.integers(2, 8))
    names = [str(name) for name in generator.choice(list(COMPARTMENTS), n)]
    regions = voronoi_regions(generator, shape, n, 5 * size, generator.uniform(3, 9) * size)
    chosen = [COMPARTMENTS[name] for name in names]

    def level(parameter: str) -> Float32Array:
        low, high = np.array([getattr(compartment, parameter) for compartment in chosen]).T
        return np.asarray(generator.uniform(low, high)[regions], np.float32)

    stained = np.exp(generator.uniform(np.log(0.5), np.log(1.8)))  # differs between laboratories
    thickness = stained * np.exp(0.1 * smooth_fields(generator, 1, shape, 15 * size)[0])
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
    """A field of variance near 1, drawn out along curves by sampling noise through a warp."""
    across, along = smooth_fields(generator, 2, shape, 10)
    stripes = generator.uniform(0.25, 0.8) * (
        np.arange(shape[0], dtype=np.float32)[:, None] * np.cos(turn := generator.uniform(0, np.pi))
        + np.arange(shape[1], dtype=np.float32) * np.sin(turn)
    )
    waves = np.sin(2 * np.pi * (stripes / 2 + across)) + smooth_fields(generator, 1, shape, 1.2)[0]
    return np.asarray(waves * np.exp(0.2 * along) / np.sqrt(1.5), np.float32)
