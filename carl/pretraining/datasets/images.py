"""What a set of images has to offer to be trained on."""

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
class Window:
    """A part of an image, large enough to cut a crop from where the image is.

    Attributes:
        values: (h, w, C) physical values; NaN where there are none.
        spectra: (n, C) of pixels all over the image, to normalise it by.
        gaps_declared: whether the file itself says that values are missing.
        name: of the file, for messages.
        truth: (h, w, N_TRUTHS) of `carl.pretraining.truth.scene_truth`; None if nothing is known.
    """

    values: Float32Array
    spectra: Float32Array
    gaps_declared: bool
    name: str
    truth: Float32Array | None = None


class View(Protocol):
    """Images as the camera of one batch sees them."""

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C,) band centres in nm, in the order of the values."""

    def read(self, item: int, size: int, random: np.random.Generator) -> Window:
        """A window of an item, at least `size` pixels wide and high where the image is.

        Raises:
            CarlError: its file cannot be read.
        """


class Images(Protocol):
    """The images of one camera in a set, or of random ones: a batch is drawn from one of these."""

    @property
    def range_nm(self) -> tuple[float, float]:
        """Shortest and longest wavelength there can be."""

    def __len__(self) -> int:
        """Number of items to draw; each is about as much image as the others."""

    def for_batch(self, random: np.random.Generator) -> View:
        """The images as the camera of a batch sees them."""


class OneCamera(ABC):
    """Images of one camera, the same in every batch.

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
        """The same images."""
        return self

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def read(self, item: int, size: int, random: np.random.Generator) -> Window:
        """A window of an item."""


class PatchImages(OneCamera):
    """Images so small that each is one item and is read whole.

    Args:
        wavelengths: (C,) in nm.
        n_patches: how many images there are.
    """

    def __init__(self, wavelengths: NDArray[np.float64], n_patches: int) -> None:
        super().__init__(wavelengths)
        self._n_patches = n_patches

    def __len__(self) -> int:
        return self._n_patches

    def read(self, item: int, size: int, random: np.random.Generator) -> Window:
        """The whole patch, whatever the size asked for."""
        path = self.path_of(item, random)
        values = self.load(path)
        return Window(values, values.reshape(-1, values.shape[2]), True, path.name)

    @abstractmethod
    def path_of(self, item: int, random: np.random.Generator) -> Path:
        """The file or folder of a patch."""

    @abstractmethod
    def load(self, path: Path) -> Float32Array:
        """(h, w, C) physical values; NaN where the file declares that there are none.

        Raises:
            CarlError: the file cannot be read.
        """


def require_folder(path: Path, what: str) -> Path:
    """The path if it is a folder.

    Raises:
        CarlError: it is not.
    """
    if not path.is_dir():
        raise CarlError(f"The folder {path} of {what} does not exist: correct 'path' in its set.")
    return path


def nothing_found(path: Path, layout: str) -> CubeError:
    """The error for a folder that is not laid out as it should be."""
    return CubeError(f"{path} holds no images laid out as {layout}: correct 'path' in its set.")
