"""Linear classifiers of pixel features (linear probes)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from cases import Labels
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from carl.learning.features import FeatureStack


class Classifier(Protocol):
    """Interface of scikit-learn's classifiers."""

    def fit(self, features: np.ndarray, classes: np.ndarray) -> Classifier:
        """Fit to (N, D) features and (N,) classes."""

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict the (N,) classes of (N, D) features."""


ClassifierFactory = Callable[[], Classifier]
Method = Callable[[Labels], Labels]
"""Function of training labels (H, W) that returns a label map (H, W), valid at labelled pixels."""


def logistic_regression() -> Classifier:
    """Return logistic regression with default regularisation and enough iterations to converge."""
    return LogisticRegression(max_iter=1000)


def shrinkage_lda() -> Classifier:
    """Return linear discriminant analysis with shrinkage 0.5, stable from two pixels per class."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)


def ledoit_wolf_lda() -> Classifier:
    """Return linear discriminant analysis with Ledoit-Wolf shrinkage, for three or more pixels."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


LINEAR_PROBES: dict[str, ClassifierFactory] = {
    "shrinkage LDA": shrinkage_lda,
    "logistic regression": logistic_regression,
}
"""The linear probes by name, used for all features."""


def standardised(
    features: FeatureStack, labels: Labels, like: FeatureStack | None = None
) -> np.ndarray:
    """Return the features (N, D) of the labelled pixels, standardised by a whole cube.

    With few labels, means and standard deviations of the whole cube are better estimates than those
    of the training pixels, for all kinds of features.

    Args:
        features: features of a cube.
        labels: labels of its pixels.
        like: features of the cube whose mean and standard deviation are used; the same cube by
            default.
    """
    maps = [each.values for each in (features if like is None else like).maps]
    mean, std = (np.concatenate([f(each, axis=(0, 1)) for each in maps]) for f in (np.mean, np.std))
    std[std == 0] = 1
    return np.asarray((features.at(*np.nonzero(labels)) - mean) / std, np.float32)


def on_pixels(
    make: ClassifierFactory, labels: Labels, source: np.ndarray, target: np.ndarray | None = None
) -> Method:
    """Return a method that classifies the labelled pixels of a cube.

    Args:
        make: factory of the classifier.
        labels: all labels; only these pixels are classified.
        source: (N, D) features of the labelled pixels to train on.
        target: (N, D) features of the same pixels to predict from; `source` by default.
    """
    labelled = labels > 0

    def run(training: Labels) -> Labels:
        classes = training[labelled]
        chosen = classes > 0
        result = np.zeros_like(labels)
        classifier = make().fit(source[chosen], classes[chosen])
        result[labelled] = classifier.predict(source if target is None else target)
        return result

    return run
