"""Random bands, crops and turns: what makes many images of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carl.errors import CarlError
from carl.inference.blocks import mirrored


@dataclass(frozen=True)
class BandChoice:
    """How many bands of a camera a batch shows, and which.

    Attributes:
        count: fewest and most; a camera with fewer shows all it has. None for all bands.
        contiguous: share of the batches that show neighbouring bands, in place of scattered ones.
    """

    count: tuple[int, int] | None = None
    contiguous: float = 0.0

    def __post_init__(self) -> None:
        if self.count is not None and not 2 <= self.count[0] <= self.count[1]:
            raise CarlError(
                f"bands is {list(self.count)}: give the fewest and the most to show, 2 or more."
            )
        if not 0 <= self.contiguous <= 1:
            raise CarlError(f"contiguous is {self.contiguous}: it is a share, from 0 to 1.")

    def draw(
        self, wavelengths: NDArray[np.float64], random: np.random.Generator
    ) -> NDArray[np.intp]:
        """Indices of the bands to show, in order of wavelength.

        Args:
            wavelengths: (C,) of all bands in nm, in any order.
            random: generator.
        """
        order = np.argsort(wavelengths, kind="stable")
        if self.count is None:
            return order
        most = min(self.count[1], order.size)
        n_bands = int(random.integers(min(self.count[0], most), most + 1))
        if random.random() < self.contiguous:
            first = int(random.integers(order.size - n_bands + 1))
            return order[first : first + n_bands]
        return order[np.sort(random.permutation(order.size)[:n_bands])]


def random_crop(
    values: NDArray[np.float32], size: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """A random square of (h, w, C) values: (size, size, C).

    Where the image is smaller, the crop is filled up with its mirror image.
    """
    rows, columns = (_positions(length, size, random) for length in values.shape[:2])
    return values[np.ix_(rows, columns)]


def random_turn(crop: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """(S, S, C) mirrored up-down, mirrored left-right and transposed, each or not."""
    up_down, left_right, transposed = random.integers(2, size=3)
    crop = crop[::-1] if up_down else crop
    crop = crop[:, ::-1] if left_right else crop
    return crop.swapaxes(0, 1) if transposed else crop


def random_start(length: int, size: int, random: np.random.Generator) -> int:
    """Where a stretch of `size` may begin on an axis to lie inside as far as it can."""
    return int(random.integers(max(length - size, 0) + 1))


def _positions(length: int, size: int, random: np.random.Generator) -> NDArray[np.intp]:
    return mirrored(np.arange(size) + random_start(length, size, random), length)
