"""Draw labelled images to train a head on and to validate it on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.inference import normalisation
from carl.inference.cache_keys import content_key
from carl.io import LabelClass, LabelMap, read_cube, read_labels
from carl.io.geobench import GeoBenchSplit
from carl.io.labels import default_colour
from carl.io.reader import decoding_errors
from carl.learning.crops import Crop, StrokeCrops
from carl.learning.head_training.train_config import PairConfig, TrainConfig
from carl.learning.holdout import split_strokes
from carl.model import CARL
from carl.model.heads.factory import Task
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.normalise import fill_missing, spectra_statistics

_MAX_VALIDATION_CROPS = 64
"""Largest number of validation crops per cube, which bounds the time of a validation."""
_LABEL_DIMENSIONS: dict[Task, int] = {"classification": 0, "multilabel": 1, "segmentation": 2}
"""Number of dimensions of a GEO-Bench label by task."""


class LabelledBatch(NamedTuple):
    """Labelled images of one camera.

    Attributes:
        image: (B, C, S, S), normalised.
        wavelengths_um: (C,) in µm.
        labels: labels as `carl.model.heads.base.Head.loss` takes them.
    """

    image: Tensor
    wavelengths_um: Tensor
    labels: Tensor


class CubeSamples:
    """Crops of labelled cubes.

    Attributes:
        classes: classes of the task.
        size: side of the images, pixels.

    Raises:
        CarlError: a cube or a label map cannot be used, or there are fewer than two classes.
    """

    def __init__(
        self, config: TrainConfig, model: CARL, task: Task, progress: Progress = no_progress
    ) -> None:
        self._task, self._bands, self._batch_size = task, config.bands, config.batch_size
        patch = model.patch_size
        self.size = max(patch, config.crop // patch * patch)
        training = [_read_pair(each) for each in config.pairs]
        validation = [_read_pair(each) for each in config.validation]
        self.classes = _name_classes(config.classes, [labels for _, labels in training])
        values = [each.value for each in self.classes]

        def crops(cube: SpectralCube, labels: NDArray[np.integer]) -> StrokeCrops:
            return StrokeCrops(cube, labels, values, self.size, scale)

        self._training: list[StrokeCrops] = []
        self._validation: list[StrokeCrops] = []
        self._pairs = [*training, *validation]
        for number, (cube, labels) in enumerate(self._pairs):
            progress(number / len(self._pairs), f"Opening {cube.name}")
            scale = normalisation(cube, model)
            if number >= len(training):
                self._validation.append(crops(cube, _check_classes(labels, values, cube)))
                continue
            trained_on: NDArray[np.integer] = labels.labels
            if not validation and config.held_out and trained_on.any():
                trained_on, held = split_strokes(trained_on, config.seed, fraction=config.held_out)
                if held.any():
                    self._validation.append(crops(cube, held))
            if trained_on.any():
                self._training.append(crops(cube, trained_on))

    def data_key(self, progress: Progress = no_progress) -> str:
        """Return the number of cubes and a hash of all their pixels and labels."""
        digest, n = hashlib.blake2b(digest_size=4), len(self._pairs)
        for number, (cube, labels) in enumerate(self._pairs):
            digest.update(
                content_key(cube, subprogress(progress, number / n, (number + 1) / n)).encode()
            )
            digest.update(np.ascontiguousarray(labels.labels).data)
        return f"{n} cubes, {digest.hexdigest()}"

    def draw(self, random: np.random.Generator) -> LabelledBatch:
        """Draw crops of one cube around labelled pixels, all with the same bands."""
        source = self._training[random.integers(len(self._training))]
        bands = source.choose_bands(self._bands, random)
        return self._batch([source.cut(bands, random) for _ in range(self._batch_size)])

    def validation(self) -> Iterator[LabelledBatch]:
        """Yield crops that cover the validation labels, one per batch."""
        for source in self._validation:
            for crop in source.fixed(_MAX_VALIDATION_CROPS, self._bands):
                yield self._batch([crop])

    def _batch(self, crops: Sequence[Crop]) -> LabelledBatch:
        labels = torch.stack([crop.target for crop in crops]) + 1
        if self._task != "segmentation":
            labels = _image_labels(labels, len(self.classes), multilabel=self._task == "multilabel")
        images = torch.stack([crop.image for crop in crops])
        return LabelledBatch(images, crops[0].wavelengths_um, labels)


class GeoBenchSamples:
    """Training and validation split of a GEO-Bench data set.

    Attributes:
        classes: classes of the task.
        size: side of the images, pixels.

    Raises:
        CarlError: the data set cannot be read, or its labels are not those of the task.
    """

    def __init__(
        self, config: TrainConfig, model: CARL, task: Task, progress: Progress = no_progress
    ) -> None:
        folder = config.geobench or Path()
        self._config, self._normalisation = config, model.normalisation
        self._multilabel = task == "multilabel"
        self._training, self._validation = (GeoBenchSplit(folder, s) for s in ("train", "valid"))
        path = self._training.paths[0]
        label = self._training.read_label(path)
        if label.ndim != _LABEL_DIMENSIONS[task]:
            actual = next(name for name, n in _LABEL_DIMENSIONS.items() if n == label.ndim)
            raise LabelError(f"{folder} is a set for {actual}, the head is for {task}.")
        side = min(self._training.read_image(path).shape[:2])
        self.size = side if label.ndim < 2 else min(side, config.crop)
        names = dict(enumerate(config.classes, start=1))
        self.classes = tuple(
            LabelClass(value, names.get(value, f"class {value}"), default_colour(value))
            for value in range(1, self._count_classes(label, progress) + 1)
        )

    def data_key(self, progress: Progress = no_progress) -> str:
        """Return the number of samples and a hash of the names and sizes of their files."""
        progress(0.0, "Listing the samples")
        digest = hashlib.blake2b(digest_size=4)
        for split in (self._training, self._validation):
            for path in split.paths:
                with decoding_errors(path, "a sample of GeoBench"):
                    digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        return f"{len(self._training) + len(self._validation)} samples, {digest.hexdigest()}"

    def draw(self, random: np.random.Generator) -> LabelledBatch:
        """Draw random images, or crops of them, randomly flipped and transposed."""
        items = random.integers(len(self._training), size=self._config.batch_size)
        n_bands = self._training.wavelengths.size
        n_used = min(self._config.bands or n_bands, n_bands)
        bands = np.sort(random.permutation(n_bands)[:n_used])
        return self._batch(self._training, items, bands, random)

    def validation(self) -> Iterator[LabelledBatch]:
        """Yield images spread evenly over the validation split, one per batch."""
        n_samples = min(self._config.samples, len(self._validation))
        bands = np.arange(self._validation.wavelengths.size)
        for item in np.unique(np.linspace(0, len(self._validation) - 1, n_samples).astype(int)):
            yield self._batch(self._validation, np.array([item]), bands, None)

    def _batch(
        self,
        split: GeoBenchSplit,
        items: NDArray[np.integer],
        bands: NDArray[np.intp],
        random: np.random.Generator | None,
    ) -> LabelledBatch:
        images, labels = [], []
        for item in items:
            image, label = self._read(split, int(item), bands)
            if random is not None:
                image, label = self._augment(image, label, random)
            images.append(np.ascontiguousarray(image.transpose(2, 0, 1)))
            labels.append(np.array(label, order="C"))
        wavelengths = split.wavelengths[bands] / 1000
        return LabelledBatch(
            torch.from_numpy(np.stack(images)),
            torch.as_tensor(wavelengths, dtype=torch.float32),
            torch.from_numpy(np.stack(labels)),
        )

    def _read(
        self, split: GeoBenchSplit, item: int, bands: NDArray[np.intp]
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """Read (h, w, C) normalised values and their label as heads take it."""
        path, wavelengths = split.paths[item], split.wavelengths[bands]
        values = split.read_image(path)[..., bands]
        mean, std = self._normalisation or spectra_statistics(
            values.reshape(-1, bands.size), wavelengths
        )
        values = (values - np.float32(mean)) / np.float32(std or 1.0)
        fill_missing(values, wavelengths)
        label = split.read_label(path)
        return values, label if self._multilabel else label + 1

    def _augment(
        self, image: Float32Array, label: NDArray[np.int64], random: np.random.Generator
    ) -> tuple[Float32Array, NDArray[np.int64]]:
        """Crop, transpose and flip an image and, in a segmentation, its label at random."""
        top, left = (
            int(random.integers(max(length - self.size, 0) + 1)) for length in image.shape[:2]
        )
        window = np.s_[top : top + self.size, left : left + self.size]
        image = image[window]
        is_map = label.ndim == 2
        label = label[window] if is_map else label
        for axes in ((1, 0, 2), None):
            if random.random() < 0.5:
                image = image.transpose(axes) if axes else image[::-1]
                if is_map:
                    label = label.T if axes else label[::-1]
        return image, label

    def _count_classes(self, first: NDArray[np.int64], progress: Progress) -> int:
        """Return the number of classes of the training split, given its first label."""
        if self._multilabel:
            return int(first.size)
        n_classes = len(self._config.classes)
        for item, path in enumerate(self._training.paths):
            n_classes = max(n_classes, int(self._training.read_label(path).max()) + 1)
            progress(item / len(self._training), "Reading labels")
        return n_classes


TrainingSamples = CubeSamples | GeoBenchSamples
"""Source of training and validation batches; validation batches are the same on every call."""


def _read_pair(pair: PairConfig) -> tuple[SpectralCube, LabelMap]:
    cube = read_cube(
        pair.cube, wavelengths=pair.wavelengths, camera=pair.camera, variable=pair.variable
    )
    cube.require_wavelengths()
    return cube, read_labels(pair.labels, cube.shape)


def _name_classes(names: Sequence[str], maps: Sequence[LabelMap]) -> tuple[LabelClass, ...]:
    """Return the classes of all label maps; names[0] is the name of class 1."""
    found = {each.value: each for labels in reversed(maps) for each in labels.classes}
    present = {int(value) for labels in maps for value in np.unique(labels.labels)} - {0}
    if len(present) < 2:
        raise LabelError("At least two classes are needed for training: label some of each.")
    given = dict(enumerate(names, start=1))
    return tuple(
        LabelClass(value, given.get(value, found[value].name), found[value].colour)
        for value in sorted(present)
    )


def _check_classes(
    labels: LabelMap, values: Sequence[int], cube: SpectralCube
) -> NDArray[np.integer]:
    """Return validation labels, all of which must be of trained classes."""
    unknown = set(np.unique(labels.labels).tolist()) - {0, *values}
    if unknown or not labels.labels.any():
        raise LabelError(
            f"The validation labels of {cube.name} "
            + (f"have the class {min(unknown)}, which no pair has" if unknown else "are empty")
            + ": correct 'validation'."
        )
    return labels.labels


def _image_labels(labels: Tensor, n_classes: int, *, multilabel: bool) -> Tensor:
    """Derive labels of images from (B, S, S) labels of pixels, 0 = unlabelled.

    Returns:
        (B, K) zeros and ones, or the (B,) most frequent class of each image.
    """
    counts = torch.stack([(labels == k).sum(dim=(1, 2)) for k in range(1, n_classes + 1)], dim=1)
    if multilabel:
        return (counts > 0).long()
    return torch.where(counts.any(dim=1), counts.argmax(dim=1) + 1, 0)
