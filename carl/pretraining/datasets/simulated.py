"""Simulated scenes: as many as are wanted, each batch as another random camera sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.errors import CarlError
from carl.pretraining.datasets.images import Images, Window
from carl.pretraining.truth import scene_truth
from carl.simulation import KINDS, SimulatedCamera, random_camera, simulate_scene
from carl.simulation.camera import RANGE_NM

_ITEMS = 1 << 16
"""Scenes are drawn anew each time: the number only says how much there is beside other sets."""


@dataclass(frozen=True)
class SimulatedOptions:
    """Scenes of the simulator.

    Attributes:
        kinds: which of them; one is drawn at random for each crop. None leaves it to the simulator.
        band_count: fewest and most bands of a camera.
        range_nm: shortest and longest wavelength of a band.
        scene: side of a scene over that of a crop, 1 or more; values are normalised by the scene.
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
            raise CarlError(f"band_count is {list(self.band_count)}: give the fewest and the most.")
        if not RANGE_NM[0] <= self.range_nm[0] < self.range_nm[1] <= RANGE_NM[1]:
            raise CarlError(
                f"range_nm is {list(self.range_nm)}: the simulator knows {RANGE_NM[0]:g} to "
                f"{RANGE_NM[1]:g} nm."
            )
        if self.scene < 1:
            raise CarlError(f"scene is {self.scene}: a scene is as large as a crop at least.")

    def open(self) -> list[Images]:
        """The scenes."""
        return [Scenes(self)]


class Scenes:
    """Scenes that random cameras see.

    Args:
        options: of the scenes and the cameras.
    """

    def __init__(self, options: SimulatedOptions) -> None:
        self._options = options

    @property
    def range_nm(self) -> tuple[float, float]:
        """Shortest and longest wavelength there can be."""
        return self._options.range_nm

    def __len__(self) -> int:
        return _ITEMS

    def for_batch(self, random: np.random.Generator) -> SeenScenes:
        """The scenes as a random camera sees them."""
        options = self._options
        return SeenScenes(options, random_camera(random, options.band_count, options.range_nm))


@dataclass(frozen=True, eq=False)
class SeenScenes:
    """Scenes that one camera sees.

    Attributes:
        options: of the scenes.
        camera: that sees them.
    """

    options: SimulatedOptions
    camera: SimulatedCamera

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C,) in nm."""
        return self.camera.wavelengths

    def read(self, item: int, size: int, random: np.random.Generator) -> Window:
        """A new scene, whatever the item; what bad bands show is missing."""
        side = round(self.options.scene * size)
        kinds = [each for each in KINDS if each in (self.options.kinds or ())]
        kind = kinds[int(random.integers(len(kinds)))] if kinds else None
        scene = simulate_scene(random, (side, side), self.camera, kind)
        values = scene.cube.to_numpy()
        values[..., ~scene.cube.good_bands] = np.nan
        spectra = values.reshape(-1, values.shape[2])
        return Window(values, spectra, True, scene.cube.name, scene_truth(scene))
