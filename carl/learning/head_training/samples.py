"""Labelled images to train a head on, and others to score it on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.inference import normalisation
from carl.inference.content import content_key
from carl.io import LabelClass, LabelMap, read_cube, read_labels
from carl.learning.crops import Crop, StrokeCrops
from carl.learning.head_training.train_config import PairConfig, TrainConfig
from carl.learning.holdout import split_strokes
from carl.model import CARL
from carl.model.heads.factory import Task
from carl.progress import Progress, no_progress, subprogress

_MOST_CHECKED = 64
"""Crops of a cube that are scored on."""


class Batch(NamedTuple):
    """Images of one camera.

    Attributes:
        image: (B, C, S, S), normalised.
        wavelengths_um: (C,) in µm.
        labels: as `carl.model.heads.base.Head.loss` takes them.
    """

    image: Tensor
    wavelengths_um: Tensor
    labels: Tensor


class Samples(Protocol):
    """Where batches come from."""

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """What is to be told apart."""

    @property
    def size(self) -> int:
        """Side of the images, pixels."""

    def data_key(self, progress: Progress = no_progress) -> str:
        """How much there is, and a key that differs where anything in it does."""

    def draw(self, random: np.random.Generator) -> Batch:
        """A batch to learn from."""

    def checked(self) -> Iterator[Batch]:
        """What is scored on, always the same; may be nothing."""


class PairSamples:
    """Crops of labelled cubes.

    Args:
        config: names the cubes.
        model: whose normalisation and patch size count.
        task: what labels are needed.
        progress: told while cubes are measured.

    Raises:
        CarlError: a cube or a label map cannot be used, or there are not two classes.
    """

    def __init__(
        self, config: TrainConfig, model: CARL, task: Task, progress: Progress = no_progress
    ) -> None:
        self._task, self._bands, self._batch_size = task, config.bands, config.batch_size
        patch = model.patch_size
        self.size = max(patch, config.crop // patch * patch)
        learned = [_open(each) for each in config.pairs]
        scored = [_open(each) for each in config.validation]
        self.classes = _named(config.classes, [labels for _, labels in learned])
        values = [each.value for each in self.classes]

        def crops(cube: SpectralCube, labels: NDArray[np.integer]) -> StrokeCrops:
            return StrokeCrops(cube, labels, values, self.size, scale)

        self._learned, self._scored = [], []
        self._pairs = [*learned, *scored]
        for number, (cube, labels) in enumerate(self._pairs):
            progress(number / len(self._pairs), f"Opening {cube.name}")
            scale = normalisation(cube, model)
            if number >= len(learned):
                self._scored.append(crops(cube, _known(labels, values, cube)))
                continue
            kept: NDArray[np.integer] = labels.labels
            if not scored and config.held_out and kept.any():
                kept, held = split_strokes(kept, config.seed, share=config.held_out)
                if held.any():
                    self._scored.append(crops(cube, held))
            if kept.any():
                self._learned.append(crops(cube, kept))

    def data_key(self, progress: Progress = no_progress) -> str:
        """Number of cubes, and a key of their pixels and labels, all of which are read."""
        digest, n = hashlib.blake2b(digest_size=4), len(self._pairs)
        for number, (cube, labels) in enumerate(self._pairs):
            digest.update(
                content_key(cube, subprogress(progress, number / n, (number + 1) / n)).encode()
            )
            digest.update(np.ascontiguousarray(labels.labels).data)
        return f"{n} cubes, {digest.hexdigest()}"

    def draw(self, random: np.random.Generator) -> Batch:
        """Crops of one cube around labelled pixels, which show the same bands."""
        source = self._learned[random.integers(len(self._learned))]
        bands = source.choose_bands(self._bands, random)
        return self._batch([source.cut(bands, random) for _ in range(self._batch_size)])

    def checked(self) -> Iterator[Batch]:
        """Crops that cover held-out labels."""
        for source in self._scored:
            for crop in source.fixed(_MOST_CHECKED, self._bands):
                yield self._batch([crop])

    def _batch(self, crops: Sequence[Crop]) -> Batch:
        labels = torch.stack([crop.target for crop in crops]) + 1
        if self._task != "segmentation":
            labels = _of_images(labels, len(self.classes), several=self._task == "multilabel")
        images = torch.stack([crop.image for crop in crops])
        return Batch(images, crops[0].wavelengths_um, labels)


def _open(pair: PairConfig) -> tuple[SpectralCube, LabelMap]:
    cube = read_cube(
        pair.cube, wavelengths=pair.wavelengths, camera=pair.camera, variable=pair.variable
    )
    cube.require_wavelengths()
    return cube, read_labels(pair.labels, cube.shape)


def _named(names: Sequence[str], maps: Sequence[LabelMap]) -> tuple[LabelClass, ...]:
    """The classes of all label maps; the first name given is that of class 1."""
    found = {each.value: each for labels in reversed(maps) for each in labels.classes}
    present = {int(value) for labels in maps for value in np.unique(labels.labels)} - {0}
    if len(present) < 2:
        raise LabelError("At least two classes are needed to tell them apart: label some of each.")
    given = dict(enumerate(names, start=1))
    return tuple(
        LabelClass(value, given.get(value, found[value].name), found[value].colour)
        for value in sorted(present)
    )


def _known(labels: LabelMap, values: Sequence[int], cube: SpectralCube) -> NDArray[np.integer]:
    """The labels, all of which must have been learned.

    Raises:
        LabelError: there is none, or one of a class that is not learned.
    """
    unknown = set(np.unique(labels.labels).tolist()) - {0, *values}
    if unknown or not labels.labels.any():
        raise LabelError(
            f"The labels of {cube.name}, to score on, "
            + (f"name the class {min(unknown)}, which no pair has" if unknown else "are empty")
            + ": correct 'validation'."
        )
    return labels.labels


def _of_images(labels: Tensor, n_classes: int, *, several: bool) -> Tensor:
    """Labels of images from those of their pixels.

    Args:
        labels: (B, S, S), 0 = unlabelled.
        n_classes: K.
        several: whether an image may show several classes.

    Returns:
        (B, K) zeros and ones, or the (B,) most frequent class of each.
    """
    counts = torch.stack([(labels == k).sum(dim=(1, 2)) for k in range(1, n_classes + 1)], dim=1)
    if several:
        return (counts > 0).long()
    return torch.where(counts.any(dim=1), counts.argmax(dim=1) + 1, 0)
