"""How much labels can be told from features: the judge of a pre-training, since a loss is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from carl.errors import LabelError
from carl.metrics import evaluate

_MOST_SAMPLES = 4000
_LEAST_LABELLED = 0.5
"""A patch has a label if so large a share of its pixels has it."""
_BLOCK = 4
"""Patches; training and test patches lie in alternating squares of this side."""

Features = NDArray[np.float32]
Labels = NDArray[np.integer]


def probe(
    train: tuple[Features, Labels], test: tuple[Features, Labels], neighbours: int
) -> dict[str, float]:
    """Scores of two simple classifiers on features that nothing was fitted to.

    Args:
        train: (N, D) features and (N,) labels to fit to.
        test: the same to score on.
        neighbours: k of the k nearest by cosine, which vote.

    Returns:
        ``knn`` and ``linear``: mean intersection over union; ``knn_accuracy`` and
        ``linear_accuracy``: share that is right.

    Raises:
        LabelError: there are not two classes to tell apart, or none is left to score on.
    """
    features, labels = _thinned(*train)
    held_out, truth = _thinned(*test)
    if np.unique(labels).size < 2 or not truth.size:
        raise LabelError("There are too few labels to probe on: label patches of two classes.")
    judges = {
        "knn": KNeighborsClassifier(min(neighbours, labels.size), metric="cosine"),
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    }
    scores = {}
    for name, judge in judges.items():
        result = evaluate(judge.fit(features, labels).predict(held_out), truth)
        scores[name] = result.miou
        scores[f"{name}_accuracy"] = result.accuracy
    return scores


def split_in_space(
    features: Features, labels: Labels
) -> tuple[tuple[Features, Labels], tuple[Features, Labels]]:
    """Labelled patches of a map to fit to, and others beside them to score on.

    Args:
        features: (h, w, D).
        labels: (h, w), 0 = unlabelled.
    """
    rows, columns = np.indices(labels.shape) // _BLOCK
    to_fit = (rows + columns) % 2 == 0
    known = labels > 0
    parts = (known & to_fit, known & ~to_fit)
    first, second = ((features[part], labels[part]) for part in parts)
    return first, second


def patch_labels(labels: Labels, patch_size: int) -> Labels:
    """Labels of patches from those of pixels: (H, W) to (⌈H/P⌉, ⌈W/P⌉), 0 where none prevails."""
    padding = [(0, -length % patch_size) for length in labels.shape]
    padded = np.pad(labels, padding)
    h, w = (length // patch_size for length in padded.shape)
    patches = padded.reshape(h, patch_size, w, patch_size)
    result = np.zeros((h, w), labels.dtype)
    for value in np.unique(labels[labels > 0]):
        result[(patches == value).mean(axis=(1, 3)) >= _LEAST_LABELLED] = value
    return result


def _thinned(features: Features, labels: Labels) -> tuple[Features, Labels]:
    """Not more than enough of them, always the same."""
    if labels.size <= _MOST_SAMPLES:
        return features, labels
    chosen = np.random.default_rng(0).permutation(labels.size)[:_MOST_SAMPLES]
    return features[chosen], labels[chosen]
