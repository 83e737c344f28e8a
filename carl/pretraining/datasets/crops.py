"""Read the crops of a batch: window, bands, normalisation, augmentation and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from carl.arrays import Float32Array
from carl.errors import CarlError, CubeError
from carl.pretraining.datasets.augment import (
    BandSampling,
    BandSelection,
    random_crop,
    random_flip,
    random_zoom,
    resize,
)
from carl.pretraining.datasets.batch_schedule import BatchPlan
from carl.pretraining.datasets.images import ImageReader, ImageSet, ImageWindow
from carl.pretraining.statistics_targets import patch_moments, patch_truth
from carl.random_streams import Stream, generator
from carl.spectra.normalise import fill_missing, spectra_statistics

_MAX_TRIES = 10
"""Number of images tried for a crop before the data set is considered unusable."""
_MIN_KNOWN = 0.5
"""Fraction of known values below which another image is drawn."""


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images of one camera of a data set, and how to sample them.

    Attributes:
        name: name of the data set, for messages.
        images: set to draw crops from.
        bands: distribution of the bands of a batch.
        fill_gaps: fill missing values even if the file does not declare them.
        weight: relative number of batches.
        zoom: smallest and largest magnification of crops.
    """

    name: str
    images: ImageSet
    bands: BandSampling
    fill_gaps: bool
    weight: float
    zoom: tuple[float, float] = (1.0, 1.0)


class PretrainingBatch(NamedTuple):
    """Crops of one camera.

    Attributes:
        image: (B, C, S, S) normalised; bands in order of wavelength.
        wavelengths_um: (C,) in µm.
        position: number of the batch, counted from the start of the run.
        name: name of the data set.
        files: names of the files of the crops.
        moments: (B, M, S/P, S/P) of `patch_moments`, from all bands of the images; None if not
            requested.
        truth: (B, N_TRUTHS, S/P, S/P) of `patch_truth`; None if not requested.
    """

    image: Tensor
    wavelengths_um: Tensor
    position: int
    name: str
    files: tuple[str, ...]
    moments: Tensor | None = None
    truth: Tensor | None = None


class _AugmentedCrop(NamedTuple):
    """Crop with its targets' data.

    Attributes:
        image: (S, S, C') normalised values of the bands of the batch.
        values: (S, S, C) physical values of all bands.
        truth: (S, S, N_TRUTHS), or None.
        window: window that contains the crop.
    """

    image: Float32Array
    values: Float32Array
    truth: Float32Array | None
    window: ImageWindow


class CropDataset(Dataset["PretrainingBatch | CarlError"]):
    """Batches of a run, by their plans.

    Errors are returned, not raised, because an exception raised in a worker process would reach the
    user as a traceback.

    Args:
        sources: all cameras of all data sets.
        size: S, pixels.
        seed: seed of the run.
        patch_size: P of the patches with targets; None for no targets.
    """

    def __init__(
        self, sources: Sequence[ImageSource], size: int, seed: int, patch_size: int | None = None
    ) -> None:
        self._sources = sources
        self._size = size
        self._seed = seed
        self._patch_size = patch_size

    def __getitem__(self, plan: BatchPlan) -> PretrainingBatch | CarlError:
        """Return the batch of a plan, or the error of its files."""
        source = self._sources[plan.camera]
        random = generator(self._seed, Stream.BANDS, plan.position)
        reader = source.images.for_batch(random)
        bands = source.bands.draw(reader.wavelengths, random)
        crops, files, moments, truths = [], [], [], []
        try:
            for number, item in enumerate(plan.items, start=plan.first):
                random = generator(self._seed, Stream.CROP, plan.position, number)
                crop = self._crop(source, reader, item, bands, random)
                crops.append(crop.image)
                files.append(crop.window.name)
                if self._patch_size is not None:
                    moments.append(self._moments(crop, reader.wavelengths, self._patch_size))
                    truths.append(patch_truth(crop.truth, self._size, self._patch_size))
        except CarlError as error:
            return CubeError(f"The set '{source.name}': {error}")
        image = torch.from_numpy(np.stack(crops)).movedim(-1, 1).contiguous()
        wavelengths_um = torch.as_tensor(bands.wavelengths / 1000, dtype=torch.float32)
        targets = [torch.from_numpy(np.stack(each)) if each else None for each in (moments, truths)]
        return PretrainingBatch(
            image, wavelengths_um, plan.position, source.name, tuple(files), *targets
        )

    def _moments(
        self, crop: _AugmentedCrop, wavelengths: NDArray[np.float64], patch_size: int
    ) -> Float32Array:
        values = crop.values.copy()
        fill_missing(values, wavelengths)
        mean, std = spectra_statistics(crop.window.spectra, wavelengths)
        return patch_moments(values, wavelengths, mean, std, patch_size)

    def _crop(
        self,
        source: ImageSource,
        reader: ImageReader,
        item: int,
        bands: BandSelection,
        random: np.random.Generator,
    ) -> _AugmentedCrop:
        """Cut a crop of an item, or of a random other item if it has too few known values."""
        for _ in range(_MAX_TRIES):
            zoom = random_zoom(source.zoom, random)
            side = self._size if zoom == 1 else max(1, round(self._size / zoom))
            window = reader.read(item, side, random)
            n_bands = window.values.shape[2]
            layers = [window.values] if window.truth is None else [window.values, window.truth]
            stack = random_crop(np.concatenate(layers, axis=2), side, random)
            stack = resize(stack, self._size)
            image = bands.select(stack[..., :n_bands])
            known = float(np.isfinite(image).mean())
            if known < 1 and not (source.fill_gaps or window.gaps_declared):
                # `check_batch` reports it, with the name of the data set.
                return _AugmentedCrop(image, stack[..., :n_bands], None, window)
            spectra = bands.select(window.spectra[None])[0]
            mean, std = spectra_statistics(spectra, bands.wavelengths)
            if known >= _MIN_KNOWN and std > 0:
                image = (image - np.float32(mean)) / np.float32(std)
                fill_missing(image, bands.wavelengths)
                flipped = random_flip(np.concatenate([image, stack], axis=2), random)
                image, values, truth = np.split(
                    flipped, [image.shape[2], image.shape[2] + n_bands], axis=2
                )
                return _AugmentedCrop(image, values, truth if truth.shape[2] else None, window)
            item = int(random.integers(len(source.images)))
        raise CubeError(
            f"{window.name} and {_MAX_TRIES - 1} other images hold hardly any values, or only "
            "constant ones: remove such files."
        )


def check_batch(batch: PretrainingBatch) -> None:
    """Check that all values of a batch are finite.

    Raises:
        CubeError: they are not; the message names the data set and the files.
    """
    invalid = ~torch.isfinite(batch.image).flatten(1).all(dim=1)
    if invalid.any():
        files = {file for file, bad in zip(batch.files, invalid.tolist(), strict=True) if bad}
        raise CubeError(
            f"The set '{batch.name}' holds values that are not numbers (in "
            f"{', '.join(sorted(files))}): correct them, or write 'missing: fill' in the set."
        )
