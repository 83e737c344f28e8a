"""Features of cubes as background jobs compute them."""

from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.progress import no_progress
from napari_carl import feature_jobs, pictures
from napari_carl.feature_jobs import Network, embed_cube, precompute

NETWORK = Network("carl-nano", 1)


def random_cube(height, width, n_bands):
    """A cube whose bands are all different."""
    pixels = np.random.default_rng(0).random((height, width, 1)) * np.linspace(1, 2, n_bands)
    return SpectralCube(pixels.astype(np.float32), np.linspace(450, 660, n_bands))


@pytest.fixture
def large(monkeypatch):
    """A cube that counts as large."""
    monkeypatch.setattr(feature_jobs, "_PREVIEW_PIXELS", 500)
    monkeypatch.setattr(feature_jobs, "_PREVIEW_PATCHES", 6)
    pixels = np.random.default_rng(0).random((50, 70, 12)).astype(np.float32)
    return SpectralCube(pixels, np.linspace(450, 660, 12))


def test_features_of_a_reduced_cube_come_first(large):
    preview, features = precompute(large, no_progress)

    assert preview.cube.shape == (17, 24, 12)
    np.testing.assert_array_equal(preview.cube.data, large.data[::3, ::3])
    assert features.cube is large
    assert features.embedding is None


def test_a_small_cube_has_no_preview():
    cube = random_cube(20, 30, 8)

    (features,) = precompute(cube, no_progress)

    assert features.cube is cube


def test_a_large_cube_has_a_preview_of_its_embedding(large):
    *_, features = precompute(large, no_progress)

    preview, *embedded = embed_cube(features, NETWORK, "cpu", no_progress)

    assert preview.features is None
    assert preview.network.model is embedded[-1].network.model is embedded[-1].features.model
    assert embedded[-1].embedding is embedded[-1].features.embedding
    assert embedded[-1].embedding.shape == (50, 70)
    (picture,) = pictures.picture_embedding(preview.embedding, preview.step, no_progress)
    assert picture.step == preview.step == 4
    assert picture.pixels.shape == (13, 18, 3)


def test_the_approximate_embedding_comes_before_the_exact_one():
    (features,) = precompute(random_cube(96, 120, 40), no_progress)

    turbo, exact = embed_cube(features, NETWORK, "cpu", no_progress)

    assert (turbo.embedding.speed, exact.embedding.speed) == ("turbo", "exact")
    assert turbo.embedding.fidelity >= 0.99
    correlations = [
        np.corrcoef(getattr(turbo.embedding, name).ravel(), getattr(exact.embedding, name).ravel())
        for name in ("spectral", "spatial")
    ]
    assert min(each[0, 1] for each in correlations) > 0.95


def test_an_embedding_that_turbo_computes_exactly_is_not_computed_again():
    pixels = np.random.default_rng(0).random((50, 70, 3)).astype(np.float32)
    (features,) = precompute(SpectralCube(pixels, np.array([450.0, 550.0, 650.0])), no_progress)

    (embedded,) = embed_cube(features, NETWORK, "cpu", no_progress)

    assert embedded.embedding.speed == "exact"
