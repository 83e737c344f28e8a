"""From a handful of strokes to a map of the whole cube, and of other cubes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from carl.cube import SpectralCube
from carl.errors import LabelError, ModelError
from carl.inference import Embedding
from carl.io import LabelClass, default_classes
from carl.learning.discriminant_mixture import DiscriminantMixture, fit_mixture
from carl.learning.features import EVERYWHERE, Region
from carl.learning.labelled_pixels import sample_labelled_pixels
from carl.learning.space import CARL_GROUPS, FeatureSpace
from carl.learning.storage import StoredSegmenter, load_segmenter, save_segmenter
from carl.learning.store import FeatureStore
from carl.learning.tiles import feature_tiles
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress

_STORE = FeatureStore()
"""Shared by all segmenters of the process, so that a new one on a known cube starts at once."""

_WIDEST_FIRST = 0.55
_CARL_BELIEF = {True: 0.6, False: 0.02}
"""Belief that a trained, and an untrained, network helps, before any paint is seen."""
_CARL_ALONE = 1 / 3
"""Share of it that the network needs no filter bank beside it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A map of a cube.

    Attributes:
        scores: (H, W, K) logarithms of class probabilities, up to a constant of each pixel.
        classes: the K classes.
        valid: (H, W) False where the cube has no data, or None.
    """

    scores: NDArray[np.float32]
    classes: tuple[LabelClass, ...]
    valid: NDArray[np.bool_] | None = None

    @cached_property
    def labels(self) -> NDArray[np.unsignedinteger[Any]]:
        """(H, W) class of every pixel; 0 where the cube has no data."""
        values = np.array([each.value for each in self.classes])
        small = values.astype(np.min_scalar_type(values.max()))
        labels: NDArray[np.unsignedinteger[Any]] = small[self.scores.argmax(axis=2)]
        if self.valid is not None:
            labels[~self.valid] = 0
        return labels

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """(H, W, K) probability of every class, calibrated on left-out strokes."""
        return np.asarray(softmax(self.scores, axis=2), np.float32)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W) probability of the class shown."""
        return np.asarray(self.probabilities.max(axis=2))


class Segmenter:
    """Learns classes from painted pixels and finds them in whole cubes of any camera.

    Args:
        model: network whose features join the filter bank's; None for the filter bank alone.
        classes: names and colours; values that are painted but not named here get default ones.
        precision: of the network, as in `carl.embed`.
        speed: of the network, as in `carl.embed`.
    """

    def __init__(
        self,
        model: CARL | None = None,
        *,
        classes: Sequence[LabelClass] = (),
        precision: str = "auto",
        speed: str = "exact",
    ) -> None:
        self.model = model
        self.classes = tuple(classes)
        self.precision = precision
        self.speed = speed
        self._space: FeatureSpace | None = None
        self._head: DiscriminantMixture | None = None
        self._names: tuple[str, ...] = ()

    def fit(
        self,
        cubes: SpectralCube | Sequence[SpectralCube],
        labels: Any,
        *,
        progress: Progress = no_progress,
    ) -> Self:
        """Learn from painted pixels.

        Features depend on the cubes alone: they are kept, and fitting again with other strokes
        takes a fraction of a second.

        Args:
            cubes: one cube or several, with known wavelengths.
            labels: (H, W) integers for each cube, 0 = unlabelled.
            progress: told often; cancels by raising.

        Raises:
            LabelError: labels do not fit the cubes, or name fewer than two classes.
            WavelengthError: wavelengths are missing or the cubes share no range.
            CubeError: a cube has no usable values.
            Cancelled: by `progress`.
        """
        cubes = [cubes] if isinstance(cubes, SpectralCube) else list(cubes)
        painted = check_labels(cubes, labels)
        values = sorted({int(v) for each in painted for v in np.unique(each)} - {0})
        if len(values) < 2:
            raise LabelError(
                "At least two classes are needed to tell them apart: paint a few strokes of each."
            )
        space, stacks = _STORE.fit(
            cubes, self.model, self.precision, self.speed, subprogress(progress, 0.0, 0.95)
        )
        pixels = sample_labelled_pixels(stacks, painted, values)
        progress(0.95, "Learning from the strokes")
        names, seen, prior = _experts(
            stacks[0].columns(), self.model is not None and self.model.trained
        )
        self._space, self._names = space, names
        self._head = fit_mixture(pixels, seen, prior)
        self.classes = _named(values, self.classes)
        progress(1.0, "Learned")
        return self

    def predict(self, cube: SpectralCube, *, progress: Progress = no_progress) -> Prediction:
        """The map of a cube, of this camera or another.

        Raises:
            ModelError: not fitted yet.
            WavelengthError: wavelengths are missing, or do not cover those learned from.
            CubeError: the cube has no usable values.
            Cancelled: by `progress`.
        """
        (prediction,) = self.draw(cube, [EVERYWHERE], progress=progress)
        progress(1.0, "Map ready")
        return prediction

    def draw(
        self, cube: SpectralCube, regions: Iterable[Region], *, progress: Progress = no_progress
    ) -> Iterator[Prediction]:
        """The map of a cube piece by piece, each when it is asked for.

        Args:
            cube: of this camera or another.
            regions: rows and columns of pixels; steps above 1 leave pixels out.
            progress: told before the first piece; cancels by raising.

        Yields:
            the prediction of each region, as `predict` makes it of all pixels.

        Raises:
            ModelError, WavelengthError, CubeError, Cancelled: as `predict`.
        """
        space, head = self._fitted()
        stack = _STORE.stack(
            cube, space, self.model, self.precision, self.speed, subprogress(progress, 0.0, 0.9)
        )
        progress(0.9, "Drawing the map")
        discriminant = head.discriminant(stack.error_variance)
        for region in regions:
            valid = None if stack.valid is None else stack.valid[region]
            yield Prediction(stack.scores(*discriminant, region), self.classes, valid)

    def predict_tiles(
        self, cube: SpectralCube, scratch: Path, *, progress: Progress = no_progress
    ) -> Iterator[tuple[Region, Prediction]]:
        """The map of a cube of any size, in pieces that cover it: memory holds one at a time.

        Args:
            cube: of this camera or another.
            scratch: a file that may be made for features of a large cube; to be removed afterwards.
            progress: told often; cancels by raising.

        Yields:
            rows and columns, and their prediction, as `predict` makes it of all pixels.

        Raises:
            ModelError, WavelengthError, CubeError, Cancelled: as `predict`.
            OutputError: the scratch file cannot be written.
        """
        space, head = self._fitted()
        embedding, mapping = None, progress
        if self.model is not None:
            mapping = subprogress(progress, 0.8, 1.0)
            embedding = _STORE.embed_to_disk(
                cube,
                self.model,
                scratch,
                self.precision,
                self.speed,
                subprogress(progress, 0.0, 0.8),
            )
        for tile in feature_tiles(cube, space, embedding, mapping):
            scores = tile.stack.scores(*head.discriminant(tile.stack.error_variance), tile.inside)
            valid = None if tile.stack.valid is None else tile.stack.valid[tile.inside]
            yield tile.region, Prediction(scores, self.classes, valid)

    @property
    def report(self) -> dict[str, Any]:
        """What was learned: accuracy on left-out strokes and the weight of every expert.

        Raises:
            ModelError: not fitted yet.
        """
        _, head = self._fitted()
        shares = dict(zip(self._names, head.shares.tolist(), strict=True))
        return {
            "left_out_accuracy": head.accuracy,
            "carl_share": sum(s for name, s in shares.items() if "CARL" in name),
            "experts": shares,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to predict into one file: safetensors with a JSON header.

        Raises:
            ModelError: not fitted yet.
            OutputError: the file cannot be written.
        """
        space, head = self._fitted()
        save_segmenter(
            path,
            StoredSegmenter(
                space, head, self._names, self.classes, self.model, self.precision, self.speed
            ),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str = "auto") -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: the file cannot be read, or needs a model that is not here.
        """
        stored = load_segmenter(path, device)
        segmenter = cls(
            stored.model, classes=stored.classes, precision=stored.precision, speed=stored.speed
        )
        segmenter._space, segmenter._head = stored.space, stored.head
        segmenter._names = stored.names
        return segmenter

    def _fitted(self) -> tuple[FeatureSpace, DiscriminantMixture]:
        if self._space is None or self._head is None:
            raise ModelError("The segmenter has learned nothing yet: fit it to strokes first.")
        return self._space, self._head


def prepare(
    cube: SpectralCube,
    model: CARL | None,
    *,
    precision: str = "auto",
    speed: str = "exact",
    progress: Progress = no_progress,
) -> Embedding | None:
    """Compute features ahead of time: segmenters fitted to the cube afterwards find them ready.

    Args:
        cube: with known wavelengths.
        model: whose embedding to compute; None for the filter bank.
        precision: as in `carl.embed`.
        speed: as in `carl.embed`.
        progress: told often; cancels by raising.

    Returns:
        the embedding of the cube, or None without a model.
    """
    if model is None:
        _STORE.fit([cube], None, progress=progress)
        return None
    return _STORE.embed(cube, model, precision, speed, progress)


def check_labels(cubes: Sequence[SpectralCube], labels: Any) -> list[NDArray[np.integer]]:
    """Label maps as a list, one for each cube and of its size.

    Raises:
        LabelError: they are not.
    """
    given = [labels] if isinstance(labels, np.ndarray) and labels.ndim == 2 else list(labels)
    if len(given) != len(cubes):
        raise LabelError(
            f"{len(given)} label maps were given for {len(cubes)} cubes: give one each."
        )
    painted = [np.asarray(each) for each in given]
    for cube, each in zip(cubes, painted, strict=True):
        if each.dtype.kind not in "iub":
            raise LabelError(f"The labels of {cube.name} are not whole numbers: use 0, 1, 2, ….")
        if each.shape != cube.shape[:2]:
            raise LabelError(
                f"The labels of {cube.name} have {_size(each.shape)} pixels, the cube has "
                f"{_size(cube.shape[:2])}: give labels drawn on this cube."
            )
        if each.size and each.min() < 0:
            raise LabelError(f"The labels of {cube.name} hold numbers below 0: use 0, 1, 2, ….")
    return painted


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(n) for n in shape)


def _named(values: Sequence[int], known: Sequence[LabelClass]) -> tuple[LabelClass, ...]:
    named = {each.value: each for each in known}
    defaults = {each.value: each for each in default_classes(np.array([values]))}
    return tuple(named.get(value, defaults[value]) for value in values)


def _experts(
    columns: dict[str, slice], trained: bool
) -> tuple[tuple[str, ...], NDArray[np.bool_], list[float]]:
    """What each expert sees: neighbourhoods up to a scale, with and without CARL; or CARL alone.

    Returns:
        names, (E, p) features seen, and prior beliefs.
    """
    bank = [name for name in columns if name not in CARL_GROUPS]
    narrower = (1 - _WIDEST_FIRST) / max(len(bank) - 1, 1)
    present = [name for name in CARL_GROUPS if name in columns]
    additions = [[], *[[name] for name in present], *([present] if len(present) == 2 else [])]
    helps = _CARL_BELIEF[trained] if present else 0.0
    names, seen, prior = [], [], []
    n_features = max(where.stop for where in columns.values())

    def features_of(groups: Sequence[str]) -> NDArray[np.bool_]:
        mask = np.zeros(n_features, bool)
        for name in groups:
            mask[columns[name]] = True
        return mask

    for i, widest in enumerate(bank):
        for extra in additions:
            names.append(" + ".join([widest, *extra]))
            seen.append(features_of([*bank[: i + 1], *extra]))
            prior.append(
                (_WIDEST_FIRST if i == len(bank) - 1 else narrower)
                * (helps * (1 - _CARL_ALONE) / (len(additions) - 1) if extra else 1 - helps)
            )
    if present:
        names.append("CARL")
        seen.append(features_of(present))
        prior.append(helps * _CARL_ALONE)
    return tuple(names), np.array(seen), prior
