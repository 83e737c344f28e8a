"""Upsample small cubes before they are embedded, so that structures span several patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.inference.embedding import Embedding
from carl.inference.upsampling import upsample
from carl.lazy_array import Block, LazyArray

_MIN_PATCHES = 48
"""Number of patches wanted along the shorter side: in smaller cubes, structures such as a vessel or
a field are a few pixels wide, and lost within a patch of 8 pixels."""
_MAX_FACTOR = 4
"""Largest upsampling factor: beyond it, patches contain interpolated pixels only."""
_MAX_PIXELS = 1 << 20
"""Largest size of an upsampled cube in pixels, so that embedding it takes seconds."""


def upsampling_factor(shape: tuple[int, ...], patch_size: int) -> int:
    """Return by how much a cube is upsampled: a divisor of the patch size, 1 for most cubes.

    Args:
        shape: of the cube, height and width first.
        patch_size: P, pixels.
    """
    height, width = shape[:2]
    wanted = _MIN_PATCHES * patch_size / min(height, width)
    allowed = [
        factor
        for factor in range(1, _MAX_FACTOR + 1)
        if patch_size % factor == 0
        and factor < 2 * wanted
        and height * width * factor**2 <= _MAX_PIXELS
    ]
    return max(allowed, default=1)


def embed_finely(
    cube: SpectralCube, patch_size: int, embed: Callable[[SpectralCube], Embedding]
) -> Embedding:
    """Embed a cube, a small one with smaller patches by upsampling it first.

    Args:
        cube: with known wavelengths.
        patch_size: of the model, pixels.
        embed: embeds a cube: `carl.inference.embed` or `carl.inference.embed_cached`.

    Returns:
        an embedding with the shape of the cube, and the patch size divided by the factor.
    """
    factor = upsampling_factor(cube.shape, patch_size)
    if factor == 1:
        return embed(cube)
    embedding = embed(upsample_cube(cube, factor))
    return replace(embedding, shape=cube.shape[:2], patch_size=patch_size // factor)


def upsample_cube(cube: SpectralCube, factor: int) -> SpectralCube:
    """Return a cube `factor` times as high and wide, interpolated bilinearly between pixels."""
    pixels = _UpsampledPixels(cube.to_numpy(), factor)
    return replace(cube, data=pixels, scale=1.0, offset=0.0, nodata=None)


class _UpsampledPixels(LazyArray):
    """Pixels (H·factor, W·factor, C), interpolated between `values` (H, W, C) when read."""

    def __init__(self, values: NDArray[np.float32], factor: int) -> None:
        height, width, n_bands = values.shape
        super().__init__((height * factor, width * factor, n_bands), values.dtype)
        self._values = values
        self._factor = factor

    def _read_block(self, block: Block) -> NDArray[np.float32]:
        rows, columns, bands = block
        shape = self.shape[0], self.shape[1]
        return upsample(self._values[..., bands], shape, self._factor, rows, columns)
