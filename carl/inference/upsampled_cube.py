"""Small cubes, enlarged before they are embedded, so that patches do not hide what is in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.inference.embedding import Embedding
from carl.inference.upsampling import upsample
from carl.lazy_array import Block, LazyArray

_FEWEST_PATCHES = 48
"""Along the shorter side. A field or a vessel a few pixels wide is lost in a patch of eight."""
_MOST = 4
_MOST_PIXELS = 1 << 20

_ENLARGED: WeakKeyDictionary[SpectralCube, SpectralCube] = WeakKeyDictionary()
"""What has been read once is not read again with every stroke."""


def enlargement(shape: tuple[int, ...], patch_size: int) -> int:
    """How many times larger a cube should be seen: a divisor of the patch size, 1 for most cubes.

    Args:
        shape: of the cube, height and width first.
        patch_size: P, pixels.
    """
    height, width = shape[:2]
    wanted = _FEWEST_PATCHES * patch_size / min(height, width)
    fitting = [
        factor
        for factor in range(1, _MOST + 1)
        if patch_size % factor == 0
        and factor < 2 * wanted
        and height * width * factor**2 <= _MOST_PIXELS
    ]
    return max(fitting, default=1)


def embed_finely(
    cube: SpectralCube, patch_size: int, embed: Callable[[SpectralCube], Embedding]
) -> Embedding:
    """The embedding of a cube, of a small one as if it had been taken from nearer by.

    Args:
        cube: with known wavelengths.
        patch_size: of the model, pixels.
        embed: makes the embedding of a cube; `carl.inference.embed` or a cache in front of it.

    Returns:
        of the cube's own shape; its patches are as many times smaller as the cube was enlarged.
    """
    factor = enlargement(cube.shape, patch_size)
    if factor == 1:
        return embed(cube)
    if cube not in _ENLARGED:
        _ENLARGED[cube] = enlarged(cube, factor)
    seen = embed(_ENLARGED[cube])
    return replace(seen, shape=cube.shape[:2], patch_size=patch_size // factor)


def enlarged(cube: SpectralCube, factor: int) -> SpectralCube:
    """A cube `factor` times as high and wide, interpolated linearly between centres of pixels."""
    pixels = _UpsampledPixels(cube.to_numpy(), factor)
    return replace(cube, data=pixels, scale=1.0, offset=0.0, nodata=None)


class _UpsampledPixels(LazyArray):
    """Pixels interpolated when they are read.

    Args:
        values: (H, W, C).
        factor: height and width of the array as multiples of those of `values`.
    """

    def __init__(self, values: NDArray[np.float32], factor: int) -> None:
        height, width, n_bands = values.shape
        super().__init__((height * factor, width * factor, n_bands), values.dtype)
        self._values = values
        self._factor = factor

    def _read_block(self, block: Block) -> NDArray[np.float32]:
        rows, columns, bands = block
        shape = self.shape[0], self.shape[1]
        return upsample(self._values[..., bands], shape, self._factor, rows, columns)
