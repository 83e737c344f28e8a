"""Sets of GeoBench to train a head on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from carl.errors import LabelError
from carl.io import LabelClass
from carl.io.labels import default_colour
from carl.io.reader import decoding_errors
from carl.learning.head_training.samples import Batch
from carl.learning.head_training.train_config import TrainConfig
from carl.model import CARL
from carl.model.heads.factory import Task
from carl.pretraining.datasets.augment import random_start
from carl.pretraining.datasets.geobench import GeoBenchSamples
from carl.pretraining.datasets.images import mean_and_spread, require_folder
from carl.progress import Progress, no_progress
from carl.spectra.normalise import fill_missing

_DIMENSIONS: dict[Task, int] = {"classification": 0, "multilabel": 1, "segmentation": 2}
"""Axes of a label."""


class GeoBenchTask:
    """The training and the validation split of a set.

    Args:
        config: names the folder of the set.
        model: whose normalisation counts.
        task: what labels are needed.
        progress: told while labels are read.

    Raises:
        CarlError: the set cannot be read, or its labels are not those of the task.
    """

    def __init__(
        self, config: TrainConfig, model: CARL, task: Task, progress: Progress = no_progress
    ) -> None:
        folder = require_folder(config.geobench or Path(), "GeoBench")
        self._config, self._normalisation = config, model.normalisation
        self._several = task == "multilabel"
        self._learned, self._scored = (GeoBenchSamples(folder, s) for s in ("train", "valid"))
        first = self._learned.label(0)
        if first.ndim != _DIMENSIONS[task]:
            fitting = next(name for name, axes in _DIMENSIONS.items() if axes == first.ndim)
            raise LabelError(f"{folder} is a set for {fitting}, the head is for {task}.")
        side = min(self._learned.load(self._learned.path_of(0, np.random.default_rng())).shape[:2])
        self.size = side if first.ndim < 2 else min(side, config.crop)
        self.classes = _classes(config.classes, self._count(first, progress))

    def data_key(self, progress: Progress = no_progress) -> str:
        """Number of samples, and a key of the names and the sizes of their files."""
        progress(0.0, "Looking at the samples")
        digest = hashlib.blake2b(digest_size=4)
        for samples in (self._learned, self._scored):
            for path in samples.paths:
                with decoding_errors(path, "a sample of GeoBench"):
                    digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        return f"{len(self._learned) + len(self._scored)} samples, {digest.hexdigest()}"

    def draw(self, random: np.random.Generator) -> Batch:
        """Random pictures, or crops of them, mirrored and transposed at random."""
        items = random.integers(len(self._learned), size=self._config.batch_size)
        n_bands = self._learned.wavelengths.size
        shown = min(self._config.bands or n_bands, n_bands)
        bands = np.sort(random.permutation(n_bands)[:shown])
        return self._batch(self._learned, items, bands, random)

    def checked(self) -> Iterator[Batch]:
        """Pictures of the validation split, spread evenly, each a batch."""
        n_samples = min(self._config.samples, len(self._scored))
        bands = np.arange(self._scored.wavelengths.size)
        for item in np.unique(np.linspace(0, len(self._scored) - 1, n_samples).astype(int)):
            yield self._batch(self._scored, np.array([item]), bands, None)

    def _batch(
        self,
        samples: GeoBenchSamples,
        items: NDArray[np.integer],
        bands: NDArray[np.intp],
        random: np.random.Generator | None,
    ) -> Batch:
        images, labels = [], []
        for item in items:
            image, label = self._read(samples, int(item), bands)
            if random is not None:
                image, label = self._varied(image, label, random)
            images.append(np.ascontiguousarray(image.transpose(2, 0, 1)))
            labels.append(np.array(label, order="C"))
        wavelengths = samples.wavelengths[bands] / 1000
        return Batch(
            torch.from_numpy(np.stack(images)),
            torch.as_tensor(wavelengths, dtype=torch.float32),
            torch.from_numpy(np.stack(labels)),
        )

    def _read(
        self, samples: GeoBenchSamples, item: int, bands: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(h, w, C) values, normalised, and their label as heads take it."""
        window = samples.read(item, 0, np.random.default_rng(0))
        wavelengths = samples.wavelengths[bands]
        scale = self._normalisation or mean_and_spread(window.spectra[:, bands], wavelengths)
        values = window.values[..., bands]
        values = (values - np.float32(scale[0])) / np.float32(scale[1] or 1.0)
        fill_missing(values, wavelengths)
        label = samples.label(item)
        return values, label if self._several else label + 1

    def _varied(
        self, image: NDArray[np.float32], label: NDArray[np.int64], random: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The same picture cropped and turned at random."""
        top, left = (random_start(length, self.size, random) for length in image.shape[:2])
        inside = np.s_[top : top + self.size, left : left + self.size]
        image = image[inside]
        pixels = label.ndim == 2
        label = label[inside] if pixels else label
        for axes in ((1, 0, 2), None):
            if random.random() < 0.5:
                image = image.transpose(axes) if axes else image[::-1]
                if pixels:
                    label = label.T if axes else label[::-1]
        return image, label

    def _count(self, first: NDArray[np.int64], progress: Progress) -> int:
        """Number of classes of the training split."""
        if self._several:
            return int(first.size)
        n_classes = len(self._config.classes)
        for item in range(len(self._learned)):
            n_classes = max(n_classes, int(self._learned.label(item).max()) + 1)
            progress(item / len(self._learned), "Reading labels")
        return n_classes


def _classes(names: tuple[str, ...], n_classes: int) -> tuple[LabelClass, ...]:
    given = dict(enumerate(names, start=1))
    return tuple(
        LabelClass(value, given.get(value, f"class {value}"), default_colour(value))
        for value in range(1, n_classes + 1)
    )
