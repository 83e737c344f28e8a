"""Simple classifiers on the features of pixels, and how well their maps agree with labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from cases import Labels
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from carl.learning.features import FeatureStack


class Classifier(Protocol):
    """A classifier of scikit-learn."""

    def fit(self, features: np.ndarray, classes: np.ndarray) -> Classifier:
        """Learn from (N, D) features and (N,) classes."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(N,) classes of (N, D) features."""


Make = Callable[[], Classifier]
Method = Callable[[Labels], Labels]
"""From painted labels (H, W) to a label map (H, W), of which only labelled pixels need be right."""


def logistic_regression() -> Classifier:
    """Logistic regression as it comes, with time to converge."""
    return LogisticRegression(max_iter=1000)


def shrinkage_lda() -> Classifier:
    """Linear discriminants, half shrunk: stable from two pixels on."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)


def ledoit_wolf_lda() -> Classifier:
    """Linear discriminants with Ledoit and Wolf's shrinkage, which needs more than two pixels."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


LINEAR_PROBES: dict[str, Make] = {
    "shrinkage LDA": shrinkage_lda,
    "logistic regression": logistic_regression,
}
"""The linear probes, the same for all features."""


def standardised(
    features: FeatureStack, labels: Labels, like: FeatureStack | None = None
) -> np.ndarray:
    """(N, D) features of the labelled pixels, with mean 0 and spread 1 over a whole cube.

    Standardising by the whole cube, of which a handful of painted pixels say little, helps every
    kind of features at few labels.

    Args:
        features: of a cube.
        labels: of its pixels.
        like: features of the cube whose means and spreads to use; of this one by default.
    """
    maps = [each.values for each in (features if like is None else like).maps]
    mean, std = (np.concatenate([f(each, axis=(0, 1)) for each in maps]) for f in (np.mean, np.std))
    std[std == 0] = 1
    return np.asarray((features.at(*np.nonzero(labels)) - mean) / std, np.float32)


def on_pixels(
    make: Make, labels: Labels, learned: np.ndarray, told: np.ndarray | None = None
) -> Method:
    """A classifier of pixels.

    Args:
        make: the classifier.
        labels: all there are; nothing else is classified.
        learned: (N, D) features of the labelled pixels.
        told: the same to tell classes from, where it is not those that are learned from.
    """
    known = labels > 0

    def run(painted: Labels) -> Labels:
        classes = painted[known]
        chosen = classes > 0
        result = np.zeros_like(labels)
        classifier = make().fit(learned[chosen], classes[chosen])
        result[known] = classifier.predict(learned if told is None else told)
        return result

    return run
