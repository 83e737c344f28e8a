"""Simulated scenes with exact truth: what any camera would see of tissue, sections or land."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.simulation.acquisition import Acquisition, capture, random_acquisition
from carl.simulation.anatomy import ORGANS, VESSELS, Anatomy, organ_anatomy, skin_anatomy
from carl.simulation.camera import SimulatedCamera
from carl.simulation.fields import Shape, smooth_fields, voronoi_regions
from carl.simulation.histology import COMPARTMENTS, section_anatomy
from carl.simulation.materials import MATERIALS, material_spectrum
from carl.simulation.tissue import (
    SECTION_PARAMETERS,
    TISSUE_PARAMETERS,
    section_transmittance,
    tissue_reflectance,
)

Kind = Literal["organ", "skin", "section", "land"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PARAMETERS: Final = tuple(dict.fromkeys((*TISSUE_PARAMETERS, *SECTION_PARAMETERS)))
"""All truth maps of a scene; see `carl.simulation.tissue` for their units."""

_OBJECTS: Final = ("metal", "cloth")
REGIONS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "organ": (*ORGANS, *VESSELS, *_OBJECTS),
    "skin": ("skin", "vein", "mole"),
    "section": tuple(COMPARTMENTS),
    "land": tuple(MATERIALS),
}
"""The kinds of regions there can be in each kind of scene."""

_KIND_SHARES = (0.45, 0.15, 0.15, 0.25)
_STAINS_END_NM = 720.0
_SHARE_WITH_OBJECT = 0.25


@dataclass(frozen=True, eq=False)
class Scene:
    """A simulated cube and the truth about it.

    Attributes:
        cube: (H, W, C) what the camera saw, float32.
        labels: (H, W) uint8, the region of each pixel, from 1.
        classes: name of each label's kind of region, that of label 1 first.
        parameters: an (H, W) float32 map for each of `PARAMETERS`, NaN where it has no meaning.
        kind: what kind of scene it is.
        mie_power: of the scattering; see `carl.simulation.chromophores.reduced_scattering`.
        stain_shift: of the stains in nm; see `carl.simulation.chromophores.stain_density`.
    """

    cube: SpectralCube
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    parameters: Mapping[str, Float32Array]
    kind: Kind
    mie_power: float
    stain_shift: float


def simulate_scene(
    generator: Generator,
    shape: Shape,
    camera: SimulatedCamera,
    kind: Kind | None = None,
    acquisition: Acquisition | None = None,
) -> Scene:
    """A random scene as a camera sees it.

    The same generator state gives the same scene. The camera takes no part in drawing the scene:
    with equal seeds, a given kind and a given acquisition, two cameras see the same one.

    Args:
        generator: of random numbers.
        shape: (H, W) in pixels.
        camera: that takes the picture.
        kind: what to draw; a random one by default, sections only for cameras of the visible.
        acquisition: how the picture is taken; at random by default.
    """
    drawing, mixing, taking = generator.spawn(3)
    if kind is None:
        kind = _random_kind(drawing, camera)
    mie_power, stain_shift = float(drawing.uniform(0.4, 1.6)), float(drawing.normal(0, 4))
    if kind == "land":
        anatomy, image = _land(drawing, shape, camera)
    else:
        anatomy = _ANATOMIES[kind](drawing, shape)
        image = render(anatomy.maps, camera, kind, mie_power=mie_power, stain_shift=stain_shift)
    if kind == "organ" and mixing.random() < _SHARE_WITH_OBJECT:
        anatomy = _add_object(mixing, anatomy, image, camera)
    if acquisition is None:
        acquisition = random_acquisition(taking, camera)
    image = capture(image, acquisition, taking)
    missing = np.full(shape, np.nan, np.float32)
    return Scene(
        cube=_as_cube(image, camera, kind, acquisition),
        labels=anatomy.labels,
        classes=anatomy.classes,
        parameters={name: anatomy.maps.get(name, missing) for name in PARAMETERS},
        kind=kind,
        mie_power=mie_power,
        stain_shift=stain_shift,
    )


def render(
    parameters: Mapping[str, Float32Array],
    camera: SimulatedCamera,
    kind: Kind,
    *,
    mie_power: float = 1.0,
    stain_shift: float = 0.0,
) -> Float32Array:
    """What a perfect camera sees of given maps, (H, W, C); NaN where a map is.

    Args:
        parameters: `TISSUE_PARAMETERS` for organs and skin, `SECTION_PARAMETERS` for sections.
        camera: that takes the picture.
        kind: which of these it is; land has no such maps.
        mie_power: see `Scene`.
        stain_shift: see `Scene`.
    """
    if kind == "section":
        return section_transmittance(parameters, camera.nodes, camera.weights, stain_shift)
    if kind == "land":
        raise ValueError("land is drawn from spectra, not from maps of parameters")
    return tissue_reflectance(parameters, camera.nodes, camera.weights, mie_power)


_ANATOMIES = {"organ": organ_anatomy, "skin": skin_anatomy, "section": section_anatomy}


def _random_kind(generator: Generator, camera: SimulatedCamera) -> Kind:
    shares = np.array(_KIND_SHARES)
    if (camera.wavelengths > _STAINS_END_NM).mean() > 0.5:
        shares[KINDS.index("section")] = 0
    return KINDS[int(generator.choice(len(KINDS), p=shares / shares.sum()))]


def _land(
    generator: Generator, shape: Shape, camera: SimulatedCamera
) -> tuple[Anatomy, Float32Array]:
    """Regions of materials that mix into each other, under uneven light.

    Mixing is linear, so filters are applied to the materials' spectra and not to the pixels'.
    """
    n = int(generator.integers(2, 9))
    names = [str(name) for name in generator.choice(list(MATERIALS), n)]
    size = max(shape) / 64
    regions = voronoi_regions(generator, shape, n, 6 * size, generator.uniform(3, 10) * size)
    fields = smooth_fields(generator, n + 1, shape, generator.uniform(2, 12) * size)
    own = np.arange(n)[:, None, None] == regions
    weights = np.exp(generator.uniform(0.3, 1.2) * fields[:n] + generator.uniform(2, 6) * own)
    grain = smooth_fields(generator, 1, shape, generator.uniform(0.6, 2))[0]
    light = generator.uniform(0, 0.3) * fields[n] + generator.uniform(0, 0.15) * grain
    weights *= np.exp(light) / weights.sum(axis=0)
    spectra = _material_bands(generator, names, camera)
    image = np.tensordot(weights.astype(np.float32), spectra, axes=(0, 0))
    classes = tuple(dict.fromkeys(names))
    label_of = np.array([classes.index(name) + 1 for name in names], np.uint8)
    return Anatomy({}, label_of[regions], classes), np.minimum(image, 1, out=image)


def _material_bands(
    generator: Generator, names: list[str], camera: SimulatedCamera
) -> Float32Array:
    """(n, C) what a camera sees of random materials of these names."""
    spectra = [material_spectrum(name, generator, camera.nodes) for name in names]
    return np.asarray(np.stack(spectra).astype(np.float32) @ camera.weights)


def _add_object(
    generator: Generator, anatomy: Anatomy, image: Float32Array, camera: SimulatedCamera
) -> Anatomy:
    """Lay a strip of metal or cloth across the image; what is below it is no longer known."""
    name = str(generator.choice(_OBJECTS))
    height, width = anatomy.labels.shape
    turn = generator.uniform(0, np.pi)
    rows, columns = np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2
    across = rows * np.cos(turn) + columns * np.sin(turn)
    middle = generator.uniform(-0.5, 0.5) * min(height, width)
    covered = np.abs(across - middle) < generator.uniform(0.04, 0.15) * min(height, width)
    shine = np.exp(0.2 * smooth_fields(generator, 1, (height, width), 4)[0][covered])
    strip = shine[:, None] * _material_bands(generator, [name], camera)
    image[covered] = np.minimum(strip, 1)
    labels = anatomy.labels.copy()
    labels[covered] = len(anatomy.classes) + 1
    for values in anatomy.maps.values():
        values[covered] = np.nan
    return Anatomy(anatomy.maps, labels, (*anatomy.classes, name))


def _as_cube(
    image: Float32Array, camera: SimulatedCamera, kind: Kind, acquisition: Acquisition
) -> SpectralCube:
    quantity = "transmittance" if kind == "section" else "reflectance"
    bad = acquisition.bad_bands
    return SpectralCube(
        image,
        wavelengths=camera.wavelengths,
        fwhm=camera.fwhm,
        good_bands=np.ones(camera.n_bands, bool) if bad is None else ~bad,
        name=f"simulated {kind}",
        metadata={
            "quantity": quantity if acquisition.referenced else "raw counts",
            "camera": camera.name,
        },
    )
