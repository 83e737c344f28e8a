"""Read a cube in blocks of whole patches: missing values filled, normalised, padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array, mirror_indices
from carl.cube import SpectralCube
from carl.inference.tile_grid import Tile
from carl.model import CARL
from carl.progress import Progress, no_progress
from carl.spectra.normalise import check_pixels, cube_statistics, fill_missing


def normalisation(
    cube: SpectralCube, model: CARL, progress: Progress = no_progress
) -> tuple[float, float]:
    """What to subtract from every value of a cube, and then to divide it by, for a model.

    The mean and standard deviation of the data the model was trained on if it tells them, else of
    this cube; one number each, so that the shape of spectra is kept.

    Raises:
        CubeError: no value of the cube is finite.
    """
    if model.normalisation is not None:
        check_pixels(cube.usable_bands())
        return model.normalisation
    mean, std = cube_statistics(cube, progress)
    return mean, std if std > 0 else 1.0


@dataclass(frozen=True, eq=False)
class PatchReader:
    """Reads a cube as the network takes it, a strip of patches at a time.

    The right and lower borders are reflected until whole patches cover the cube.

    Attributes:
        cube: with known wavelengths and without bad bands.
        patch_size: P, pixels.
        mean: subtracted from every value; one number for the cube.
        std: divides every value after that.
    """

    cube: SpectralCube
    patch_size: int
    mean: float
    std: float

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), patches."""
        height, width, _ = self.cube.shape
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def strip(self, rows: slice, columns: slice = slice(None)) -> Float32Array:
        """A rectangle of patches, laid side by side row after row.

        Args:
            rows: of the patch grid.
            columns: of the patch grid.

        Returns:
            (C, P, n·P) normalised values, n patches.
        """
        size = self.patch_size
        height, width, n_bands = self.cube.shape
        y, x = (
            mirror_indices(_pixels(span, n_patches, size), length)
            for span, n_patches, length in zip(
                (rows, columns), self.grid, (height, width), strict=True
            )
        )
        top, left = int(y.min()), int(x.min())
        block = self.cube.read(slice(top, int(y.max()) + 1), slice(left, int(x.max()) + 1))
        block -= self.mean
        block /= self.std
        fill_missing(block, self.cube.require_wavelengths())
        if _is_reflected(y):
            block = block[y - top]
        if _is_reflected(x):
            block = block[:, x - left]
        patches = block.reshape(y.size // size, size, x.size // size, size, n_bands)
        return np.ascontiguousarray(patches.transpose(4, 1, 0, 2, 3)).reshape(n_bands, size, -1)

    def blocks(self, max_bytes: int) -> list[Tile]:
        """The grid in pieces that are read at once, from top to bottom.

        Args:
            max_bytes: size of a strip of one of them. Whole rows of patches where one fits, since
                that is what files keep together; at least one patch.
        """
        h, w = self.grid
        patches = max(1, max_bytes // (4 * self.cube.n_bands * self.patch_size**2))
        down, across = max(1, patches // w), min(patches, w)
        return [
            Tile(slice(top, min(top + down, h)), slice(left, min(left + across, w)))
            for top in range(0, h, down)
            for left in range(0, w, across)
        ]


def _pixels(patches: slice, n_patches: int, patch_size: int) -> NDArray[np.intp]:
    first, last, _ = patches.indices(n_patches)
    return np.arange(first * patch_size, last * patch_size)


def _is_reflected(pixels: NDArray[np.intp]) -> bool:
    return bool(pixels[-1] - pixels[0] != pixels.size - 1)
