"""Interfaces of a set of images to pre-train on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
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
        wavelengths: (C,) band centres in nm, in the order of the values.
    """

    def __init__(self, wavelengths: NDArray[np.float64]) -> None:
        self.wavelengths = wavelengths

    @property
    def range_nm(self) -> tuple[float, float]:
        """Shortest and longest wavelength."""
        return float(self.wavelengths.min()), float(self.wavelengths.max())

    def for_batch(self, random: np.random.Generator) -> Self:
        """Return this set."""
        return self

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Read a window of an item; see `ImageReader.read`."""


class PatchImages(OneCamera):
    """Set of small images, each of which is one item and is read completely.

    Args:
        wavelengths: (C,) in nm.
        paths: alternative files or folders of each image; a read uses a random one of them.
        load: reads one as (h, w, C) physical values, NaN where it declares missing values.
    """

    def __init__(
        self,
        wavelengths: NDArray[np.float64],
        paths: Sequence[Sequence[Path]],
        load: Callable[[Path], Float32Array],
    ) -> None:
        super().__init__(wavelengths)
        self._paths = paths
        self._load = load

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, item: int, size: int, random: np.random.Generator) -> ImageWindow:
        """Read a whole image, whatever the size."""
        alternatives = self._paths[item]
        path = alternatives[int(random.integers(len(alternatives)))]
        values = self._load(path)
        return ImageWindow(values, values.reshape(-1, values.shape[2]), True, path.name)


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
