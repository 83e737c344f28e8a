"""Pixels that a loaded model is fitted to again: what it knows, and strokes that correct it.

Three kinds of pixels take part. Those that the model was fitted to keep its classes where they
were. Confident labels of the model's own map of the cube do the same for this cube, whose camera or
illumination may differ; they are left out around strokes that contradict the map. Every stroke is a
mode of its own, so that its pixels get its class, while the map changes only for pixels that are
nearer to a stroke than to all else that the model knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from carl.errors import CubeError
from carl.learning.discriminant_mixture import NO_STROKE, IntArray, LabelledPixels
from carl.learning.features import FeatureStack
from carl.learning.labelled_pixels import BLOCK, sample_labelled_pixels
from carl.learning.predictor import BoundPredictor
from carl.progress import Progress, subprogress

_MAP_PIXELS = 1 << 20
"""Pixels of a model's map that its confident labels are chosen from; larger maps are thinned."""
_CONFIDENT = 0.25
"""Quantile of the confidence of a class above which its labels count as confident."""
_MOST_MODES = 8
"""Modes that the strokes of one class make at most; of more strokes, neighbours share one. Bounds
the time of a prediction, which is proportional to the number of modes."""


@dataclass(frozen=True, eq=False)
class KnownPixels:
    """Pixels of some classes.

    Attributes:
        pixels: their features; class k has the label ``values[k]``.
        values: labels of the classes, increasing.
    """

    pixels: LabelledPixels
    values: tuple[int, ...]

    def with_features(self, n: int) -> KnownPixels:
        """Return the pixels with their first n features."""
        return replace(self, pixels=self.pixels.with_features(n))


@dataclass(frozen=True, eq=False)
class PredictedMap:
    """A model's own map of a cube, and the features of its confident labels.

    Attributes:
        labels: (h, w) of every `step`-th pixel; 0 where there is no data.
        step: in pixels.
        confident: pixels of confident labels, which are no strokes.
    """

    labels: NDArray[np.integer]
    step: int
    confident: KnownPixels

    def uncontradicted(self, strokes: NDArray[np.integer]) -> KnownPixels:
        """Return the confident pixels but those around (H, W) strokes that contradict the map."""
        rows, columns = np.nonzero(strokes)
        predicted = self.labels[rows // self.step, columns // self.step]
        wrong = predicted != strokes[rows, columns]
        pixels = self.confident.pixels
        kept = np.ones(len(pixels.blocks), bool)
        n_blocks = tuple(-(-length // BLOCK) for length in strokes.shape)
        for k, value in enumerate(self.confident.values):
            of_class = wrong & (predicted == value)
            contradicted = np.zeros(n_blocks, bool)
            contradicted[rows[of_class] // BLOCK, columns[of_class] // BLOCK] = True
            around = ndimage.binary_dilation(contradicted, np.ones((3, 3), bool)).ravel()
            kept &= (pixels.classes != k) | ~around[pixels.blocks]
        return _selected(self.confident, kept)


def predict_map(bound: BoundPredictor, stack: FeatureStack, progress: Progress) -> PredictedMap:
    """Predict the map of a cube, and take pixels of its confident labels.

    Args:
        bound: the model, bound to the cube.
        stack: features of the cube, in which the model is fitted again.
        progress: called often; cancels by raising.

    Raises:
        CubeError: the map has no labels.
    """
    step = ceil(sqrt(stack.shape[0] * stack.shape[1] / _MAP_PIXELS))
    labels, confidence = _thinned_map(bound, stack.shape, step, progress)
    confident = np.zeros(stack.shape, labels.dtype)
    coarse = confident[::step, ::step]
    for each in bound.classes:
        of_class = labels == each.value
        if of_class.any():
            threshold = np.quantile(confidence[of_class], _CONFIDENT)
            coarse[of_class & (confidence >= threshold)] = each.value
    if stack.valid is not None:
        confident[~stack.valid] = 0
    values = tuple(np.unique(confident[confident > 0]).tolist())
    if not values:
        raise CubeError("The model predicts no label on this cube: check that it holds data.")
    pixels = sample_labelled_pixels([stack], [confident], values)
    pixels = replace(pixels, strokes=np.full_like(pixels.strokes, NO_STROKE))
    return PredictedMap(labels, step, KnownPixels(pixels, values))


def stroke_pixels(stack: FeatureStack, strokes: NDArray[np.integer]) -> KnownPixels:
    """Take pixels of (H, W) strokes; every stroke, or a few neighbours, is a mode of its own.

    Raises:
        LabelError: a class is labelled only where the cube has no data.
    """
    values = tuple(np.unique(strokes[strokes > 0]).tolist())
    pixels = sample_labelled_pixels([stack], [strokes], values)
    modes = np.empty_like(pixels.modes)
    for k in range(len(values)):
        members = pixels.classes == k
        _, ranks = np.unique(pixels.strokes[members], return_inverse=True)
        n_strokes = int(ranks.max()) + 1
        modes[members] = ranks * min(n_strokes, _MOST_MODES) // n_strokes
    numbered = pixels.classes * _MOST_MODES + modes
    return KnownPixels(replace(pixels, modes=_renumbered(numbered)), values)


def mean_pixels(means: NDArray[np.floating], values: Sequence[int]) -> KnownPixels:
    """Return one pixel at the (K, p) mean of every class, for a model without training pixels."""
    classes = np.arange(len(means))
    no_stroke = np.full(len(means), NO_STROKE)
    pixels = LabelledPixels(
        np.asarray(means, np.float64), classes, classes, classes, no_stroke, np.ones(len(means))
    )
    return KnownPixels(pixels, tuple(values))


def join_pixels(parts: Sequence[KnownPixels]) -> KnownPixels:
    """Return all pixels together; modes, blocks and strokes of different parts stay apart."""
    values = tuple(sorted({value for each in parts for value in each.values}))
    pixels = [each.pixels for each in parts]
    classes = np.concatenate(
        [np.searchsorted(values, np.array(each.values)[each.pixels.classes]) for each in parts]
    )
    modes = _apart([each.modes for each in pixels])
    strokes = np.concatenate([each.strokes for each in pixels])
    joined = LabelledPixels(
        np.concatenate([each.features for each in pixels]),
        classes,
        _renumbered(classes * (int(modes.max()) + 1) + modes),
        _apart([each.blocks for each in pixels]),
        np.where(strokes == NO_STROKE, NO_STROKE, _apart([each.strokes for each in pixels])),
        np.concatenate([each.weights for each in pixels]),
    )
    return KnownPixels(joined, values)


def _thinned_map(
    bound: BoundPredictor, shape: tuple[int, int], step: int, progress: Progress
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Return labels and confidence of every `step`-th pixel."""
    every = slice(None, None, step), slice(None, None, step)
    if bound.is_precomputed:
        prediction = bound.predict_window(every, progress)
        return prediction.labels, prediction.confidence
    labels = np.zeros(shape, np.min_scalar_type(max(each.value for each in bound.classes)))
    confidence = np.zeros(shape, np.float32)
    n = len(bound.windows)
    for done, region in enumerate(bound.windows):
        window = bound.predict_window(region, subprogress(progress, done / n, (done + 1) / n))
        labels[region], confidence[region] = window.labels, window.confidence
    return labels[every], confidence[every]


def _selected(known: KnownPixels, chosen: NDArray[np.bool_]) -> KnownPixels:
    """Return some of the pixels, with the classes that are left."""
    pixels = known.pixels
    present, classes = np.unique(pixels.classes[chosen], return_inverse=True)
    _, modes = np.unique(pixels.modes[chosen], return_inverse=True)
    kept = LabelledPixels(
        pixels.features[chosen],
        classes,
        modes,
        pixels.blocks[chosen],
        pixels.strokes[chosen],
        pixels.weights[chosen],
    )
    return KnownPixels(kept, tuple(known.values[k] for k in present))


def _apart(numbers: Sequence[IntArray]) -> IntArray:
    """Concatenate numbers, raised so that those of different parts differ."""
    result, offset = [], 0
    for each in numbers:
        result.append(each + offset)
        offset += int(each.max(initial=-1)) + 1
    return np.concatenate(result)


def _renumbered(numbers: IntArray) -> IntArray:
    """Return numbers 0, 1, 2, … in the order of the given ones."""
    renumbered: IntArray = np.unique(numbers, return_inverse=True)[1]
    return renumbered
