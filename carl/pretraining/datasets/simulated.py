"""Pre-train on simulated scenes, with a random camera in each batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.errors import CarlError
from carl.pretraining.datasets.images import ImageSet, ImageWindow
from carl.pretraining.statistics_targets import scene_truth
from carl.simulation import KINDS, SimulatedCamera, random_camera, simulate_scene
from carl.simulation.camera import RANGE_NM

_ITEMS = 1 << 16
"""Nominal number of scenes: every read simulates a new one."""


@dataclass(frozen=True)
class SimulatedOptions:
    """Scenes of the simulator, seen by random cameras.

    Attributes:
        kinds: kinds of scenes, one of which is drawn for each crop; None for all, weighted by the
            simulator.
        band_count: smallest and largest number of bands of a camera.
        range_nm: shortest and longest wavelength of a band.
        scene: side of a scene relative to that of a crop, 1 or more; values are normalised by the
            scene.
    """

    kinds: tuple[str, ...] | None = None
    band_count: tuple[int, int] = (3, 224)
    range_nm: tuple[float, float] = RANGE_NM
    scene: float = 1.25

    def __post_init__(self) -> None:
        unknown = set(self.kinds or ()) - set(KINDS)
        if unknown:
            raise CarlError(
                f"There are no scenes '{unknown.pop()}': choose from {', '.join(KINDS)}."
            )
        if not 2 <= self.band_count[0] <= self.band_count[1]:
            raise CarlError(
                f"band_count is {list(self.band_count)}: give the smallest and the largest number."
            )
        if not RANGE_NM[0] <= self.range_nm[0] < self.range_nm[1] <= RANGE_NM[1]:
            raise CarlError(
                f"range_nm is {list(self.range_nm)}: the simulator covers {RANGE_NM[0]:g} to "
                f"{RANGE_NM[1]:g} nm."
            )
        if self.scene < 1:
            raise CarlError(f"scene is {self.scene}: it must be 1 or more.")

    def open(self) -> list[ImageSet]:
        """Return one set: the scenes themselves."""
        return [self]

    def __len__(self) -> int:
        return _ITEMS

    def for_batch(self, random: np.random.Generator) -> SceneReader:
        """Return a reader with a random camera."""
        return SceneReader(self, random_camera(random, self.band_count, self.range_nm))


@dataclass(frozen=True, eq=False)
class SceneReader:
    """Reader of scenes seen by one camera."""

    options: SimulatedOptions
    camera: SimulatedCamera

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C,) in nm."""
        return self.camera.wavelengths

    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Simulate a new scene, whatever the item; values of bad bands are missing."""
        side = round(self.options.scene * size)
        kinds = [each for each in KINDS if each in (self.options.kinds or ())]
        kind = kinds[int(random.integers(len(kinds)))] if kinds else None
        scene = simulate_scene(random, (side, side), self.camera, kind)
        values = scene.cube.to_numpy()
        values[..., ~scene.cube.good_bands] = np.nan
        spectra = values.reshape(-1, values.shape[2])
        return ImageWindow(values, spectra, True, scene.cube.name, scene_truth(scene))
