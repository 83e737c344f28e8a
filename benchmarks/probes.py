"""Simple classifiers on the features of pixels, and how well their maps agree with labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from cases import Features, Labels
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression


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


def on_pixels(
    make: Make, features: Features, labels: Labels, seen: Features | None = None
) -> Method:
    """A classifier on features, each with mean 0 and spread 1 over the cube.

    Standardising by the whole cube, of which a handful of painted pixels say little, helps every
    kind of features at few labels.

    Args:
        make: the classifier.
        features: of the cube that is painted.
        labels: all there are; nothing else is classified.
        seen: features to tell classes from, where they are not those that are learned from.
    """
    mean, std = features.mean(axis=(0, 1)), features.std(axis=(0, 1))
    std[std == 0] = 1
    known = labels > 0
    learned = ((features[known] - mean) / std).astype(np.float32)
    told = learned if seen is None else ((seen[known] - mean) / std).astype(np.float32)

    def run(painted: Labels) -> Labels:
        chosen = painted[known] > 0
        result = np.zeros_like(labels)
        result[known] = make().fit(learned[chosen], painted[known][chosen]).predict(told)
        return result

    return run
