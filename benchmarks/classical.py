"""Classical pipelines that the segmenter is compared with: pixel features and classifiers.

Each of four kinds of features is classified by each of four classifiers of scikit-learn. All
features are standardised over the cube, which with few labels is better than standardising by the
training pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from cases import Labels, filter_bank, per_pixel
from probes import Classifier, ClassifierFactory, shrinkage_lda, standardised
from scipy import ndimage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

RAW, SMOOTHED, BANK, RAW_AND_BANK = FEATURES = (
    "raw spectra",
    "averaged spectra",
    "filter bank",
    "raw spectra and filter bank",
)
SMOOTHING_SIGMA = 2.5
"""Standard deviation in pixels of the Gaussian that averages spectra."""
CLASSIFIERS: dict[str, ClassifierFactory] = {
    "shrinkage LDA": shrinkage_lda,
    "logistic regression": partial(LogisticRegression, C=0.1, max_iter=1000),
    "SVM": partial(SVC, C=10),
    "random forest": partial(RandomForestClassifier, 300, random_state=0),
}

FeatureTables = Mapping[str, np.ndarray]
"""Features (N, D) of N pixels by kind of features."""


def feature_tables(
    pixels: np.ndarray, labels: Labels, like: np.ndarray | None = None, *, standardise_like=False
) -> dict[str, np.ndarray]:
    """Compute the features of the labelled pixels of a cube.

    Args:
        pixels: (H, W, C) spectra.
        labels: (H, W); only labelled pixels have features.
        like: spectra of another cube, of the same bands, whose principal components are used; the
            same cube by default.
        standardise_like: standardise by the features of `like` rather than by the cube's own.
    """
    own = _maps(pixels, like)
    reference = _maps(like) if standardise_like else own
    tables = {
        kind: standardised(per_pixel(own[kind]), labels, per_pixel(reference[kind])) for kind in own
    }
    return tables | {RAW_AND_BANK: np.hstack([tables[RAW], tables[BANK]])}


def _maps(pixels: np.ndarray, like: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return the (H, W, D) features that are not made of others."""
    averaged = ndimage.gaussian_filter(pixels, (SMOOTHING_SIGMA, SMOOTHING_SIGMA, 0))
    return {RAW: pixels, SMOOTHED: averaged, BANK: filter_bank(pixels, like)}


def fitted_pipelines(
    tables: FeatureTables, classes: np.ndarray
) -> Iterator[tuple[str, str, Classifier]]:
    """Fit every classifier to every kind of features, and yield both names and the classifier.

    Args:
        tables: (N, D) features of the training pixels by kind.
        classes: (N,) their classes.
    """
    for kind, table in tables.items():
        for name, make in CLASSIFIERS.items():
            classifier = make()
            if can_be_fitted(classifier, classes):
                yield kind, name, classifier.fit(table, classes)


def can_be_fitted(classifier: Classifier, classes: np.ndarray) -> bool:
    """Return whether there are enough training pixels: LDA needs more pixels than classes."""
    is_lda = isinstance(classifier, LinearDiscriminantAnalysis)
    return not is_lda or classes.size > np.unique(classes).size
