"""Simulated scenes of tissue, stained sections or land, with ground truth, for any camera."""

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
from carl.simulation.anatomy import (
    COMPARTMENTS,
    ORGANS,
    VESSELS,
    Anatomy,
    organ_anatomy,
    section_anatomy,
    skin_anatomy,
)
from carl.simulation.camera import SimulatedCamera
from carl.simulation.fields import Shape, smooth_fields, voronoi_regions
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
"""Names of all ground-truth maps of a scene; units in `carl.simulation.tissue`."""

_OBJECTS: Final = ("metal", "cloth")
REGIONS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "organ": (*ORGANS, *VESSELS, *_OBJECTS),
    "skin": ("skin", "vein", "mole"),
    "section": tuple(COMPARTMENTS),
    "land": tuple(MATERIALS),
}
"""Kinds of regions in each kind of scene."""

_P_KINDS = (0.45, 0.15, 0.15, 0.25)
"""Probabilities of `KINDS`."""
_STAINS_END_NM = 720.0
"""Wavelength from which stains absorb almost nothing."""
_P_OBJECT = 0.25
"""Probability that an object covers a part of an organ."""


@dataclass(frozen=True, eq=False, repr=False)
class Scene:
    """A simulated cube and its ground truth.

    Attributes:
        cube: (H, W, C) float32 values recorded by the camera.
        labels: (H, W) uint8 label of the region of each pixel, from 1.
        classes: names of the kinds of regions, that of label 1 first.
        parameters: an (H, W) float32 map for each of `PARAMETERS`, NaN where it does not apply.
        kind: of the scene.
        mie_power: of the scattering; see `carl.simulation.chromophores.reduced_scattering`.
        stain_shift: of the stains in nm; see `carl.simulation.chromophores.stain_density`.

    Examples:
        >>> import numpy as np
        >>> from carl.simulation import gaussian_camera, simulate_scene
        >>> camera = gaussian_camera(np.arange(450, 700, 25), fwhm=25, name="ten bands")
        >>> scene = simulate_scene(np.random.default_rng(0), (32, 48), camera, "skin")
        >>> scene  # doctest: +ELLIPSIS
        <Scene 'skin': 32 × 48 pixels, 10 bands, ... classes>
        >>> scene.cube.shape, scene.labels.shape
        ((32, 48, 10), (32, 48))
    """

    cube: SpectralCube
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    parameters: Mapping[str, Float32Array]
    kind: Kind
    mie_power: float
    stain_shift: float

    def __repr__(self) -> str:
        height, width, bands = self.cube.shape
        return (
            f"<Scene {self.kind!r}: {height} × {width} pixels, {bands} bands, "
            f"{len(self.classes)} classes>"
        )


def simulate_scene(
    generator: Generator,
    shape: Shape,
    camera: SimulatedCamera,
    kind: Kind | None = None,
    acquisition: Acquisition | None = None,
) -> Scene:
    """Draw a random scene and simulate its acquisition with a camera.

    The scene depends on the state of the generator, not on the camera: with equal seeds, kinds and
    acquisitions, two cameras record the same scene.

    Args:
        generator: of random numbers.
        shape: (H, W) in pixels.
        camera: the camera.
        kind: of the scene; random by default, with sections only for cameras of visible light.
        acquisition: its conditions; random by default.
    """
    scene_generator, object_generator, acquisition_generator = generator.spawn(3)
    if kind is None:
        kind = _random_kind(scene_generator, camera)
    mie_power = float(scene_generator.uniform(0.4, 1.6))
    stain_shift = float(scene_generator.normal(0, 4))
    if kind == "land":
        anatomy, image = _land(scene_generator, shape, camera)
    else:
        anatomy = _ANATOMIES[kind](scene_generator, shape)
        image = render(anatomy.maps, camera, kind, mie_power=mie_power, stain_shift=stain_shift)
    if kind == "organ" and object_generator.random() < _P_OBJECT:
        anatomy = _add_object(object_generator, anatomy, image, camera)
    if acquisition is None:
        acquisition = random_acquisition(acquisition_generator, camera)
    image = capture(image, acquisition, acquisition_generator)
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
    """Compute the image of given maps without acquisition effects.

    The maps are `TISSUE_PARAMETERS` for organs and skin, and `SECTION_PARAMETERS` for sections;
    land has no such maps. See `Scene` for `mie_power` and `stain_shift`.

    Returns:
        (H, W, C) reflectance or transmittance, NaN where a map is NaN.
    """
    if kind == "section":
        return section_transmittance(parameters, camera.nodes, camera.weights, stain_shift)
    if kind == "land":
        raise ValueError("land is drawn from spectra, not from maps of parameters")
    return tissue_reflectance(parameters, camera.nodes, camera.weights, mie_power)


_ANATOMIES = {"organ": organ_anatomy, "skin": skin_anatomy, "section": section_anatomy}


def _random_kind(generator: Generator, camera: SimulatedCamera) -> Kind:
    probabilities = np.array(_P_KINDS)
    if (camera.wavelengths > _STAINS_END_NM).mean() > 0.5:
        probabilities[KINDS.index("section")] = 0
    return KINDS[int(generator.choice(len(KINDS), p=probabilities / probabilities.sum()))]


def _land(
    generator: Generator, shape: Shape, camera: SimulatedCamera
) -> tuple[Anatomy, Float32Array]:
    """Draw regions of linearly mixed materials under uneven illumination.

    Because mixing is linear, filters are applied to the spectra of materials, not of pixels.
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
    """Draw spectra of materials in the bands of a camera, (n, C)."""
    spectra = [material_spectrum(name, generator, camera.nodes) for name in names]
    return np.asarray(np.stack(spectra).astype(np.float32) @ camera.weights)


def _add_object(
    generator: Generator, anatomy: Anatomy, image: Float32Array, camera: SimulatedCamera
) -> Anatomy:
    """Add a strip of metal or cloth to the image; the maps below it become NaN."""
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
