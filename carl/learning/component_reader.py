"""Pixels as the filter bank sees them: components of their spectra, read some rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.learning.cross_sensor import CrossSensorMapping
from carl.progress import Progress, no_progress
from carl.spectra.normalise import fill_missing


class PixelComponents(NamedTuple):
    """What a rectangle of pixels shows by itself.

    Attributes:
        values: (h, w, k) components of every pixel, 0 where there is no data.
        valid: (h, w) where there is data; None for everywhere.
    """

    values: Float32Array
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class ComponentReader:
    """Reads a cube as components of its spectra.

    Attributes:
        cube: without bad bands.
        view: of its camera.
        white: its value that is as good as white.
    """

    cube: SpectralCube
    view: CrossSensorMapping
    white: float

    def read(self, rows: slice, progress: Progress = no_progress) -> PixelComponents:
        """PrincipalComponents of some rows of pixels, read a block at a time."""
        top, bottom, _ = rows.indices(self.cube.shape[0])
        n_components = self.view.basis.shape[1]
        values = np.empty((bottom - top, self.cube.shape[1], n_components), np.float32)
        valid = np.ones(values.shape[:2], bool)
        step = self.cube.row_blocks()[0].stop
        for start in range(top, bottom, step):
            stop = min(start + step, bottom)
            spectra = self.cube.read(slice(start, stop))
            here = slice(start - top, stop - top)
            valid[here] = np.isfinite(spectra).any(axis=2)
            fill_missing(spectra, self.cube.require_wavelengths())
            values[here] = self.view.components(spectra, self.white)
            progress((stop - top) / (bottom - top), "Reading spectra")
        values[~valid] = 0
        return PixelComponents(values, None if valid.all() else valid)
