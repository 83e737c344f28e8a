"""Interfaces of a set of images to pre-train on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CarlError, CubeError


@dataclass(frozen=True, eq=False)
class ImageWindow:
    """Part of an image, large enough to cut a crop from unless the image is smaller.

    Attributes:
        values: (h, w, C) physical values; NaN where missing.
        spectra: (n, C) spectra from the whole image, to normalise it by.
        gaps_declared: whether the file declares missing values.
        name: name of the file, for messages.
        truth: (h, w, N_TRUTHS) of `carl.pretraining.statistics_targets.scene_truth`; None if
            unknown.
    """

    values: Float32Array
    spectra: Float32Array
    gaps_declared: bool
    name: str
    truth: Float32Array | None = None


class ImageReader(Protocol):
    """Reader of images of the camera of one batch."""

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C,) band centres in nm, in the order of the values."""

    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Read a window of an item, with sides of at least `size` pixels if the image has them.

        Raises:
            CarlError: its file cannot be read.
        """


class ImageSet(Protocol):
    """Images of one camera, or of random cameras; a batch is drawn from one set."""

    @property
    def range_nm(self) -> tuple[float, float]:
        """Shortest and longest possible wavelength."""

    def __len__(self) -> int:
        """Return the number of items, each with about the same number of pixels."""

    def for_batch(self, random: np.random.Generator) -> ImageReader:
        """Return a reader with the camera of a batch."""


class OneCamera(ABC):
    """Base of sets with the same camera in every batch.

    Args:
        wavelengths: (C,) in nm.
    """

    def __init__(self, wavelengths: NDArray[np.float64]) -> None:
        self._wavelengths = wavelengths

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C,) band centres in nm."""
        return self._wavelengths

    @property
    def range_nm(self) -> tuple[float, float]:
        """Shortest and longest wavelength."""
        return float(self._wavelengths.min()), float(self._wavelengths.max())

    def for_batch(self, random: np.random.Generator) -> Self:
        """Return this set."""
        return self

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Read a window of an item."""


class PatchImages(OneCamera):
    """Base of sets of small images, each of which is one item and is read completely.

    Args:
        wavelengths: (C,) in nm.
        n_patches: number of images.
    """

    def __init__(self, wavelengths: NDArray[np.float64], n_patches: int) -> None:
        super().__init__(wavelengths)
        self._n_patches = n_patches

    def __len__(self) -> int:
        return self._n_patches

    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Read a whole image, whatever the size."""
        path = self.path_of(item, random)
        values = self.load(path)
        return ImageWindow(values, values.reshape(-1, values.shape[2]), True, path.name)

    @abstractmethod
    def path_of(self, item: int, random: np.random.Generator) -> Path:
        """Return the file or folder of an image."""

    @abstractmethod
    def load(self, path: Path) -> Float32Array:
        """Read (h, w, C) physical values; NaN where the file declares missing values.

        Raises:
            CarlError: the file cannot be read.
        """


def require_folder(path: Path, data_set: str) -> Path:
    """Return the path if it is a folder.

    Raises:
        CarlError: it is not.
    """
    if not path.is_dir():
        raise CarlError(
            f"The folder {path} of {data_set} does not exist: correct 'path' in its set."
        )
    return path


def no_images_error(path: Path, layout: str) -> CubeError:
    """Return the error for a folder with another layout."""
    return CubeError(f"{path} holds no images laid out as {layout}: correct 'path' in its set.")
