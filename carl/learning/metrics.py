"""How well a label map agrees with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.errors import LabelError


@dataclass(frozen=True, eq=False)
class Scores:
    """Agreement of a prediction with the labelled pixels of the truth.

    Attributes:
        accuracy: share of labelled pixels that are predicted right, 0..1.
        iou: intersection over union of each class of the truth, 0..1.
        miou: mean of `iou`.
        values: (V,) label values met in either map, ascending: the axes of `confusion`. 0 is among
            them only if labelled pixels were left without a prediction.
        confusion: (V, V) pixel counts; rows are the truth, columns the prediction.
        n_pixels: number of labelled pixels.
    """

    accuracy: float
    iou: dict[int, float]
    miou: float
    values: tuple[int, ...]
    confusion: NDArray[np.int64]
    n_pixels: int


def evaluate(predicted: ArrayLike, truth: ArrayLike) -> Scores:
    """Compare a label map with the truth.

    Pixels whose truth is 0 are left out. A predicted 0, or a class that the truth does not have, is
    an error wherever the truth has a label.

    Args:
        predicted: integer labels of any shape, usually (H, W).
        truth: integer labels of the same shape; 0 = unlabelled.

    Raises:
        LabelError: the shapes differ, the values are not whole numbers, or nothing is labelled.
    """
    guess, target = _integers(predicted, "prediction"), _integers(truth, "truth")
    if guess.shape != target.shape:
        raise LabelError(
            f"The prediction has the shape {guess.shape} and the truth {target.shape}: compare two "
            "label maps of the same image."
        )
    labelled = target != 0
    if not labelled.any():
        raise LabelError("The truth has no labelled pixel: label some, with classes from 1.")
    guess, target = guess[labelled], target[labelled]

    values, indices = np.unique(np.concatenate([target, guess]), return_inverse=True)
    rows, columns = indices[: target.size], indices[target.size :]
    n = values.size
    confusion = np.bincount(rows * n + columns, minlength=n * n).reshape(n, n).astype(np.int64)

    hits = np.diagonal(confusion)
    in_truth = confusion.sum(axis=1)
    union = in_truth + confusion.sum(axis=0) - hits
    iou = {int(values[i]): float(hits[i] / union[i]) for i in range(n) if in_truth[i]}
    return Scores(
        accuracy=float(hits.sum() / target.size),
        iou=iou,
        miou=float(np.mean(list(iou.values()))),
        values=tuple(int(value) for value in values),
        confusion=confusion,
        n_pixels=int(target.size),
    )


@dataclass(frozen=True, eq=False)
class MultiLabelScores:
    """Agreement of predictions with the truth where an image may show several classes.

    Attributes:
        f1: F1 of each class that is there or is predicted, by its index, 0..1.
        mean_f1: mean of `f1`.
        accuracy: share of images for which every class is predicted right, 0..1.
    """

    f1: dict[int, float]
    mean_f1: float
    accuracy: float


def evaluate_multilabel(predicted: ArrayLike, truth: ArrayLike) -> MultiLabelScores:
    """Compare which classes images are said to show with which they show.

    Args:
        predicted: (N, K) of zeros and ones.
        truth: the same.

    Raises:
        LabelError: the shapes differ, or no image shows any class.
    """
    guess, target = np.asarray(predicted, bool), np.asarray(truth, bool)
    if guess.shape != target.shape or guess.ndim != 2:
        raise LabelError(
            f"The prediction has the shape {guess.shape} and the truth {target.shape}: compare two "
            "tables of the same images and classes."
        )
    if not target.any():
        raise LabelError("The truth has no image with a class: label some.")
    hits = (guess & target).sum(axis=0)
    total = guess.sum(axis=0) + target.sum(axis=0)
    f1 = {int(k): float(2 * hits[k] / total[k]) for k in np.flatnonzero(total)}
    accuracy = float((guess == target).all(axis=1).mean())
    return MultiLabelScores(f1, float(np.mean(list(f1.values()))), accuracy)


def _integers(labels: ArrayLike, what: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.dtype.kind not in "biu":
        raise LabelError(
            f"The {what} holds {array.dtype} values: a label map has whole numbers, 0 = unlabelled."
        )
    return array.astype(np.int64)
