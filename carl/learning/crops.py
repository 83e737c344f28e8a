"""Cut crops around labelled pixels of a cube, to train a network on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.arrays import mirror_indices
from carl.cube import SpectralCube
from carl.spectra.normalise import fill_missing

T = TypeVar("T", bound=np.generic)

IGNORED = -1
"""Target of pixels without a label."""
_MIN_BANDS = 3
"""Smallest number of bands in a crop: that of an RGB camera."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A square cut out of a cube and its labels.

    Attributes:
        image: (C, S, S) normalised values.
        wavelengths_um: (C,) in µm.
        target: (S, S) class indices from 0; `IGNORED` where nothing is labelled.
    """

    image: Tensor
    wavelengths_um: Tensor
    target: Tensor


class StrokeCrops:
    """Crops around the labelled pixels of one cube.

    Args:
        cube: cube with known wavelengths.
        labels: (H, W) integers, 0 = unlabelled.
        classes: all label values of the task, ascending; their order defines the class indices.
        size: S, pixels, a multiple of the patch size. Where the cube is smaller, crops are padded
            with its mirror image, without labels.
        normalisation: mean and standard deviation that the network normalises the cube by.
    """

    def __init__(
        self,
        cube: SpectralCube,
        labels: NDArray[np.integer],
        classes: Sequence[int],
        size: int,
        normalisation: tuple[float, float],
    ) -> None:
        self._cube = cube.usable_bands()
        self._wavelengths_um = self._cube.require_wavelengths() / 1000
        self._mean, self._std = normalisation
        self._size = size
        self._target = np.full(labels.shape, IGNORED, np.int64)
        for index, value in enumerate(classes):
            self._target[labels == value] = index
        present = np.unique(self._target[self._target != IGNORED])
        self._pixels = [np.argwhere(self._target == index) for index in present]

    def draw(self, max_bands: int, random: np.random.Generator) -> Crop:
        """Cut a randomly flipped and transposed crop around a random labelled pixel.

        Classes are drawn with equal probability. The crop has a random subset of the bands, which
        simulates another camera.
        """
        return self.cut(self.choose_bands(max_bands, random), random)

    def choose_bands(self, max_bands: int | None, random: np.random.Generator) -> NDArray[np.intp]:
        """Draw indices of at most `max_bands` bands and at least half as many; None for all."""
        n_bands = self._cube.n_bands
        if max_bands is None:
            return np.arange(n_bands)
        most = min(max_bands, n_bands)
        fewest = min(most, max(_MIN_BANDS, most // 2))
        return np.sort(random.permutation(n_bands)[: random.integers(fewest, most + 1)])

    def cut(self, bands: NDArray[np.intp], random: np.random.Generator) -> Crop:
        """Cut a random crop, as `draw` does, with the given bands."""
        pixels = self._pixels[random.integers(len(self._pixels))]
        row, column = pixels[random.integers(len(pixels))]
        height, width, _ = self._cube.shape
        top = _random_start(row, height, self._size, random)
        left = _random_start(column, width, self._size, random)
        return self._crop(top, left, bands, flips=random.integers(2, size=3).astype(bool))

    def fixed(self, max_crops: int, max_bands: int | None) -> Iterator[Crop]:
        """Yield the same labelled crops on every call, for validation.

        Crops lie on a grid, so that no pixel occurs twice, and classes take turns. Bands are spread
        evenly over the spectrum; `max_bands` None uses all.
        """
        n_bands = self._cube.n_bands
        n_used = min(max_bands or n_bands, n_bands)
        bands = np.unique(np.linspace(0, n_bands - 1, n_used).round().astype(int))
        shuffle = np.random.default_rng(0).permutation
        cells_of_classes = [
            map(tuple, shuffle(np.unique(pixels // self._size, axis=0))) for pixels in self._pixels
        ]
        turns = chain.from_iterable(zip_longest(*cells_of_classes))
        cells = dict.fromkeys(cell for cell in turns if cell is not None)
        for row, column in islice(cells, max_crops):
            yield self._crop(row * self._size, column * self._size, bands)

    def _crop(
        self,
        top: int,
        left: int,
        bands: NDArray[np.intp],
        flips: NDArray[np.bool_] | None = None,
    ) -> Crop:
        height, width, _ = self._cube.shape
        rows, columns = np.arange(top, top + self._size), np.arange(left, left + self._size)
        y, x = mirror_indices(rows, height), mirror_indices(columns, width)
        block = self._cube.read(slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1))
        block = block[np.ix_(y - y.min(), x - x.min(), bands)]
        block -= self._mean
        block /= self._std
        fill_missing(block, self._wavelengths_um[bands])
        target = self._target[np.ix_(y, x)]
        target[rows >= height] = IGNORED
        target[:, columns >= width] = IGNORED
        if flips is not None:
            block, target = _flipped(block, flips), _flipped(target, flips)
        return Crop(
            torch.from_numpy(np.ascontiguousarray(block.transpose(2, 0, 1))),
            torch.as_tensor(self._wavelengths_um[bands], dtype=torch.float32),
            torch.from_numpy(np.ascontiguousarray(target)),
        )


def _random_start(pixel: int, length: int, size: int, random: np.random.Generator) -> int:
    """Draw the start of a crop that contains a pixel and, if possible, lies inside the axis."""
    last = max(0, min(pixel, length - size))
    first = min(max(0, pixel - size + 1), last)
    return int(random.integers(first, last + 1))


def _flipped(image: NDArray[T], flips: NDArray[np.bool_]) -> NDArray[T]:
    """Flip (S, S, …) vertically, horizontally and along the diagonal, where `flips` is True."""
    image = image[::-1] if flips[0] else image
    image = image[:, ::-1] if flips[1] else image
    return image.swapaxes(0, 1) if flips[2] else image
