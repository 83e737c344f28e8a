from functools import partial

import numpy as np
import pytest
from cases import random_pixels
from classical import CLASSIFIERS, FEATURES, feature_tables, fitted_pipelines
from sklearn.ensemble import RandomForestClassifier

from carl.metrics import evaluate


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    monkeypatch.setitem(CLASSIFIERS, "random forest", partial(RandomForestClassifier, 20))


@pytest.fixture
def pixels(cube) -> np.ndarray:
    return cube.to_numpy()


def test_every_pipeline_classifies_separable_classes(pixels, labels):
    training, test = random_pixels(labels, 10, 0)
    tables = feature_tables(pixels, labels)
    chosen, tested = training[labels > 0] > 0, test[labels > 0] > 0

    found = {
        (kind, name): evaluate(classifier.predict(tables[kind][tested]), test[test > 0]).miou
        for kind, name, classifier in fitted_pipelines(
            {kind: table[chosen] for kind, table in tables.items()}, training[training > 0]
        )
    }

    assert set(found) == {(kind, name) for kind in FEATURES for name in CLASSIFIERS}
    assert min(found.values()) > 0.9


def test_discriminants_are_left_out_with_one_pixel_per_class(pixels, labels):
    training, _ = random_pixels(labels, 1, 0)
    tables = {kind: table[:3] for kind, table in feature_tables(pixels, labels).items()}

    names = {name for _, name, _ in fitted_pipelines(tables, training[training > 0])}

    assert names == set(CLASSIFIERS) - {"shrinkage LDA"}


def test_features_are_standardised_over_the_cube(pixels, labels):
    everywhere = np.ones_like(labels)

    for table in feature_tables(pixels, everywhere).values():
        np.testing.assert_allclose(table.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(table.std(axis=0), 1, atol=1e-3)


def test_features_of_another_cube_are_in_the_space_of_the_first(pixels, labels):
    own = feature_tables(pixels, labels)
    brighter = feature_tables(2 * pixels, labels, pixels)
    standardised_like = feature_tables(2 * pixels, labels, pixels, standardise_like=True)

    for kind in FEATURES:
        np.testing.assert_allclose(brighter[kind], own[kind], atol=2e-3)
    assert np.abs(standardised_like["raw spectra"] - own["raw spectra"]).min() > 0.1
    np.testing.assert_allclose(
        standardised_like["filter bank"], own["filter bank"], atol=2e-3
    )  # the optical density is relative to white
