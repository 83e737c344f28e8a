"""Random bands, cameras, crops and turns: what makes many images of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from carl.arrays import mirror_indices
from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.simulation import SimulatedCamera, covered_bands, random_camera, simulate_camera

_LEAST_COVERED = 3


class Bands(Protocol):
    """What a batch shows of the bands of its images."""

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C',) in nm, rising."""

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w, C') of (h, w, C) values."""


@dataclass(frozen=True, eq=False)
class SomeBands:
    """Some of the bands.

    Attributes:
        wavelengths: (C',) in nm.
        indices: (C',) of the bands.
    """

    wavelengths: NDArray[np.float64]
    indices: NDArray[np.intp]

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w, C') of (h, w, C) values."""
        return values[..., self.indices]


@dataclass(frozen=True, eq=False)
class OtherCamera:
    """What another camera would have seen.

    Attributes:
        own: (C,) wavelengths of the images in nm.
        camera: the other one.
    """

    own: NDArray[np.float64]
    camera: SimulatedCamera

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """(C',) in nm."""
        return self.camera.wavelengths

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w, C') of (h, w, C) values."""
        return simulate_camera(SpectralCube(values, self.own), self.camera).read()


@dataclass(frozen=True)
class BandChoice:
    """What batches show of the bands of a camera.

    Attributes:
        count: fewest and most bands; a camera with fewer shows all it has. None for all bands.
        contiguous: share of the batches that show neighbouring bands, in place of scattered ones.
        other_cameras: share of the batches that are as random other cameras, with filters of their
            own, would have seen the images.
    """

    count: tuple[int, int] | None = None
    contiguous: float = 0.0
    other_cameras: float = 0.0

    def __post_init__(self) -> None:
        if self.count is not None and not 2 <= self.count[0] <= self.count[1]:
            raise CarlError(
                f"bands is {list(self.count)}: give the fewest and the most to show, 2 or more."
            )
        for name in ("contiguous", "other_cameras"):
            if not 0 <= getattr(self, name) <= 1:
                raise CarlError(f"{name} is {getattr(self, name)}: it is a share, from 0 to 1.")

    def draw(self, wavelengths: NDArray[np.float64], random: np.random.Generator) -> Bands:
        """What one batch shows, in order of wavelength.

        Args:
            wavelengths: (C,) of all bands in nm, in any order.
            random: generator.
        """
        if random.random() < self.other_cameras:
            camera = self._other_camera(wavelengths, random)
            if camera is not None:
                return OtherCamera(wavelengths, camera)
        indices = self._some(np.argsort(wavelengths, kind="stable"), random)
        return SomeBands(wavelengths[indices], indices)

    def _other_camera(
        self, wavelengths: NDArray[np.float64], random: np.random.Generator
    ) -> SimulatedCamera | None:
        """A random camera whose bands are all covered by the images' own; None if none is found."""
        fewest, most = self.count or (3, wavelengths.size)
        limits = float(wavelengths.min()), float(wavelengths.max())
        camera = random_camera(random, (fewest, max(fewest, most)), limits)
        own = SpectralCube(np.zeros((1, 1, wavelengths.size), np.float32), wavelengths)
        bands = np.flatnonzero(covered_bands(own, camera))
        if bands.size < _LEAST_COVERED:
            return None
        return camera.choose(bands[np.argsort(camera.wavelengths[bands], kind="stable")])

    def _some(self, order: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
        """Some of the bands, which come in order of wavelength."""
        if self.count is None:
            return order
        most = min(self.count[1], order.size)
        # Few bands are as frequent as many, for each number takes work in proportion.
        n_bands = int(np.exp(random.uniform(np.log(min(self.count[0], most)), np.log(most + 1))))
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


def random_zoom(limits: tuple[float, float], random: np.random.Generator) -> float:
    """A magnification between the limits; halving is as likely as doubling."""
    low, high = limits
    return low if low == high else float(np.exp(random.uniform(np.log(low), np.log(high))))


def resized(crop: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(S', S', C) as (size, size, C), interpolated linearly, or averaged where it shrinks."""
    if crop.shape[0] == size:
        return crop
    image = torch.from_numpy(np.ascontiguousarray(crop)).movedim(-1, 0)[None]
    image = F.interpolate(
        image, (size, size), mode="bilinear", align_corners=False, antialias=crop.shape[0] > size
    )
    return image[0].movedim(0, -1).contiguous().numpy()


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
    return mirror_indices(np.arange(size) + random_start(length, size, random), length)
