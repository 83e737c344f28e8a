"""Augment images: random bands, simulated cameras, zooms, crops and flips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from carl.arrays import Float32Array, mirror_indices
from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.simulation import SimulatedCamera, covered_bands, random_camera, simulate

_MIN_COVERED = 3
"""Smallest number of bands of a simulated camera that the bands of the image must cover."""


@dataclass(frozen=True, eq=False)
class BandSubset:
    """Subset of the bands: (C',) wavelengths in nm, and indices of the bands."""

    wavelengths: NDArray[np.float64]
    indices: NDArray[np.intp]

    def select(self, values: Float32Array) -> Float32Array:
        """Return (h, w, C') values of the selected bands of (h, w, C) values."""
        return values[..., self.indices]


@dataclass(frozen=True, eq=False)
class SimulatedBands:
    """Bands of a simulated camera, from images with (C,) wavelengths in nm."""

    image_wavelengths: NDArray[np.float64]
    camera: SimulatedCamera

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C',) in nm."""
        return self.camera.wavelengths

    def select(self, values: Float32Array) -> Float32Array:
        """Return the (h, w, C') values that the camera measures, from (h, w, C) values."""
        return simulate(SpectralCube(values, self.image_wavelengths), self.camera).read()


BandSelection = BandSubset | SimulatedBands
"""Bands of a batch, in order of wavelength, computed from all bands of its images."""


@dataclass(frozen=True)
class BandSampling:
    """Distribution of the bands of a batch.

    Attributes:
        count: smallest and largest number of bands; a camera with fewer uses all. None for all
            bands.
        contiguous: fraction of the batches with neighbouring bands in place of scattered ones.
        other_cameras: fraction of the batches with the bands of a random simulated camera.
    """

    count: tuple[int, int] | None = None
    contiguous: float = 0.0
    other_cameras: float = 0.0

    def __post_init__(self) -> None:
        if self.count is not None and not 2 <= self.count[0] <= self.count[1]:
            raise CarlError(
                f"bands is {list(self.count)}: give the smallest and the largest number of bands, "
                "2 or more."
            )
        for name in ("contiguous", "other_cameras"):
            if not 0 <= getattr(self, name) <= 1:
                raise CarlError(f"{name} is {getattr(self, name)}: give a fraction from 0 to 1.")

    def draw(self, wavelengths: NDArray[np.float64], random: np.random.Generator) -> BandSelection:
        """Draw the bands of one batch, in order of wavelength.

        Args:
            wavelengths: (C,) of all bands in nm, in any order.
            random: random generator.
        """
        if random.random() < self.other_cameras:
            camera = self._draw_camera(wavelengths, random)
            if camera is not None:
                return SimulatedBands(wavelengths, camera)
        indices = self._draw_subset(np.argsort(wavelengths, kind="stable"), random)
        return BandSubset(wavelengths[indices], indices)

    def _draw_camera(
        self, wavelengths: NDArray[np.float64], random: np.random.Generator
    ) -> SimulatedCamera | None:
        """Draw a camera and reduce it to the bands that the images cover; None if too few."""
        fewest, most = self.count or (3, wavelengths.size)
        limits = float(wavelengths.min()), float(wavelengths.max())
        camera = random_camera(random, (fewest, max(fewest, most)), limits)
        image = SpectralCube(np.zeros((1, 1, wavelengths.size), np.float32), wavelengths)
        bands = np.flatnonzero(covered_bands(image, camera))
        if bands.size < _MIN_COVERED:
            return None
        return camera.choose(bands[np.argsort(camera.wavelengths[bands], kind="stable")])

    def _draw_subset(
        self, order: NDArray[np.intp], random: np.random.Generator
    ) -> NDArray[np.intp]:
        """Draw indices of bands from all indices in order of wavelength."""
        if self.count is None:
            return order
        most = min(self.count[1], order.size)
        # Log-uniform: small and large numbers of bands are equally frequent in relative terms,
        # since the computation time of a batch is proportional to its number of bands.
        n_bands = int(np.exp(random.uniform(np.log(min(self.count[0], most)), np.log(most + 1))))
        if random.random() < self.contiguous:
            first = int(random.integers(order.size - n_bands + 1))
            return order[first : first + n_bands]
        return order[np.sort(random.permutation(order.size)[:n_bands])]


def random_crop(values: Float32Array, size: int, random: np.random.Generator) -> Float32Array:
    """Cut a random square (size, size, C) out of (h, w, C) values.

    Smaller images are padded with their mirror image.
    """
    rows, columns = (
        mirror_indices(np.arange(size) + random_start(length, size, random), length)
        for length in values.shape[:2]
    )
    return values[np.ix_(rows, columns)]


def random_zoom(limits: tuple[float, float], random: np.random.Generator) -> float:
    """Draw a log-uniform magnification between two limits."""
    low, high = limits
    return low if low == high else float(np.exp(random.uniform(np.log(low), np.log(high))))


def resize(crop: Float32Array, size: int) -> Float32Array:
    """Resize (S', S', C) to (size, size, C), bilinearly, with antialiasing where it shrinks."""
    if crop.shape[0] == size:
        return crop
    image = torch.from_numpy(np.ascontiguousarray(crop)).movedim(-1, 0)[None]
    image = F.interpolate(
        image, (size, size), mode="bilinear", align_corners=False, antialias=crop.shape[0] > size
    )
    return image[0].movedim(0, -1).contiguous().numpy()


def random_flip(crop: Float32Array, random: np.random.Generator) -> Float32Array:
    """Flip (S, S, C) vertically, horizontally and along the diagonal, each with probability ½."""
    vertical, horizontal, diagonal = random.integers(2, size=3)
    crop = crop[::-1] if vertical else crop
    crop = crop[:, ::-1] if horizontal else crop
    return crop.swapaxes(0, 1) if diagonal else crop


def random_start(length: int, size: int, random: np.random.Generator) -> int:
    """Draw the start of a range of `size` pixels that, if possible, lies inside an axis."""
    return int(random.integers(max(length - size, 0) + 1))
