"""Read the patches of a cube: missing values filled, normalised, extended by reflection."""

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
    """Return the mean and standard deviation that normalise a cube for a model.

    They are those of the model's training data if the model has them, else those of the cube. Each
    is one number for all bands, so that the shape of spectra is preserved.

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
    """Reads patches of a cube in the form that the network takes.

    The cube is extended by reflection to the right and below until whole patches cover it.

    Attributes:
        cube: with known wavelengths and without bad bands.
        patch_size: P, pixels.
        mean: subtracted from every value.
        std: divides every value after that.
    """

    cube: SpectralCube
    patch_size: int
    mean: float
    std: float

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) in patches."""
        height, width, _ = self.cube.shape
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def strip(self, rows: slice, columns: slice = slice(None)) -> Float32Array:
        """Read a rectangle of patches, placed side by side row after row.

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
        """Divide the patch grid into blocks that are read at once, from top to bottom.

        Args:
            max_bytes: largest size of the strip of a block, but at least one patch. Blocks are
                whole rows of patches if one fits, as files store lines together.
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
