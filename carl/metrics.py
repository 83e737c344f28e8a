"""Compute accuracy, intersection over union and F1 of predicted labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.display import RowsDisplay
from carl.errors import LabelError


@dataclass(frozen=True, eq=False, repr=False)
class Scores(RowsDisplay):
    """Agreement between a predicted label map and the labelled pixels of the true one.

    Attributes:
        accuracy: fraction of labelled pixels predicted correctly, 0..1.
        iou: intersection over union by class of the true map, 0..1.
        miou: mean of `iou`.
        values: (V,) label values found in either map, ascending: the axes of `confusion`. Contains
            0 only if labelled pixels have no prediction.
        confusion: (V, V) pixel counts; rows are true classes, columns predicted ones.
        n_pixels: number of labelled pixels.

    Examples:
        >>> from carl.metrics import evaluate
        >>> scores = evaluate([[1, 1], [2, 1]], [[1, 1], [2, 2]])
        >>> scores
        pixels    4
        accuracy  0.7500
        mIoU      0.5833
        IoU 1     0.6667
        IoU 2     0.5000
        >>> scores.iou[2]
        0.5
    """

    accuracy: float
    iou: dict[int, float]
    miou: float
    values: tuple[int, ...]
    confusion: NDArray[np.int64]
    n_pixels: int

    def rows(self, names: Mapping[int, str] | None = None) -> dict[str, str]:
        """Return the name and the formatted value of every score.

        Args:
            names: class names by label value; the value itself where there is none.
        """
        names = names or {}
        return {
            "pixels": str(self.n_pixels),
            "accuracy": f"{self.accuracy:.4f}",
            "mIoU": f"{self.miou:.4f}",
            **{f"IoU {names.get(value, value)}": f"{iou:.4f}" for value, iou in self.iou.items()},
        }


def evaluate(predicted: ArrayLike, truth: ArrayLike) -> Scores:
    """Compare a predicted label map with the true one.

    Pixels whose true label is 0 are ignored. On labelled pixels, a prediction of 0 or of a class
    that does not occur in `truth` counts as an error.

    Args:
        predicted: integer labels of any shape, usually (H, W).
        truth: integer labels of the same shape; 0 = unlabelled.

    Raises:
        LabelError: the shapes differ, the values are not integers, or nothing is labelled.

    Examples:
        >>> import numpy as np
        >>> from carl.metrics import evaluate
        >>> truth = np.array([[0, 1], [2, 2]])
        >>> evaluate(np.array([[2, 1], [2, 2]]), truth).miou  # the unlabelled pixel is ignored
        1.0
    """
    guess, target = _integers(predicted, "prediction"), _integers(truth, "truth")
    if guess.shape != target.shape:
        raise LabelError(
            f"The prediction has shape {guess.shape} and the truth {target.shape}: compare two "
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


@dataclass(frozen=True, eq=False, repr=False)
class MultiLabelScores(RowsDisplay):
    """Agreement of predictions with the truth where an image may show several classes.

    Attributes:
        f1: F1 by index of every class that occurs in the truth or in a prediction, 0..1.
        mean_f1: mean of `f1`.
        accuracy: fraction of images for which every class is predicted correctly, 0..1.
    """

    f1: dict[int, float]
    mean_f1: float
    accuracy: float

    def rows(self) -> dict[str, str]:
        """Return the name and the formatted value of every score."""
        return {
            "accuracy": f"{self.accuracy:.4f}",
            "mean F1": f"{self.mean_f1:.4f}",
            **{f"F1 {index}": f"{value:.4f}" for index, value in self.f1.items()},
        }


def evaluate_multilabel(predicted: ArrayLike, truth: ArrayLike) -> MultiLabelScores:
    """Compare the predicted classes of images with the true ones, both (N, K) zeros and ones.

    Raises:
        LabelError: the shapes differ, or no image shows any class.

    Examples:
        >>> from carl.metrics import evaluate_multilabel
        >>> evaluate_multilabel([[1, 0], [1, 1]], [[1, 0], [0, 1]])
        accuracy  0.5000
        mean F1   0.8333
        F1 0      0.6667
        F1 1      1.0000
    """
    guess, target = np.asarray(predicted, bool), np.asarray(truth, bool)
    if guess.shape != target.shape or guess.ndim != 2:
        raise LabelError(
            f"The prediction has shape {guess.shape} and the truth {target.shape}: compare two "
            "(images, classes) tables of the same images."
        )
    if not target.any():
        raise LabelError("The truth has no image with a class: label some.")
    hits = (guess & target).sum(axis=0)
    total = guess.sum(axis=0) + target.sum(axis=0)
    f1 = {int(k): float(2 * hits[k] / total[k]) for k in np.flatnonzero(total)}
    accuracy = float((guess == target).all(axis=1).mean())
    return MultiLabelScores(f1, float(np.mean(list(f1.values()))), accuracy)


def _integers(labels: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.dtype.kind not in "biu":
        raise LabelError(
            f"The {name} holds {array.dtype} values: a label map has integers, 0 = unlabelled."
        )
    return array.astype(np.int64)
