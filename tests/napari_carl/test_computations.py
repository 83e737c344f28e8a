from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.progress import no_progress
from napari_carl import computations, layer_data


def test_class_spectra_leave_out_missing_values():
    pixels = np.ones((2, 3, 2), np.float32)
    pixels[0, :, 0] = [1, 3, np.nan]
    strokes = np.array([[1, 1, 1], [0, 0, 2]], np.uint8)

    spectra = computations.class_spectra(SpectralCube(pixels), strokes, no_progress)

    np.testing.assert_allclose(spectra[1].mean, [2, 1])
    np.testing.assert_allclose(spectra[1].deviation, [1, 0])
    np.testing.assert_allclose(spectra[2].deviation, [0, 0])


def test_class_spectra_of_nothing_are_none():
    cube = SpectralCube(np.ones((2, 3, 2), np.float32))

    assert computations.class_spectra(cube, np.zeros((2, 3), np.uint8), no_progress) == {}


def test_composition_begins_with_red_green_and_blue():
    nm = np.arange(400.0, 710.0, 10.0)
    cube = SpectralCube(np.ones((2, 2, nm.size), np.float32), nm)

    assert nm[list(computations.first_composition(cube))].tolist() == [630, 540, 460]


def test_composition_without_wavelengths_spreads_over_the_bands():
    red, green, blue = computations.first_composition(SpectralCube(np.ones((2, 2, 9), np.float32)))

    assert red > green > blue


@pytest.fixture
def large(monkeypatch):
    """A cube that counts as large."""
    monkeypatch.setattr(computations, "_PREVIEW_PATCHES", 6)
    monkeypatch.setattr(layer_data, "_PREVIEW_VALUES", 20_000)
    pixels = np.random.default_rng(0).random((50, 70, 12)).astype(np.float32)
    return SpectralCube(pixels, np.linspace(450, 660, 12))


def test_the_network_gives_a_first_impression_of_a_large_cube(large):
    coarse, *whole = computations.compute_features(large, None, "carl-nano", "cpu", no_progress)

    assert coarse.is_preview
    assert all(not each.is_preview for each in whole)
    assert coarse.model is whole[-1].model
    assert whole[-1].embedding.shape == (50, 70)
    (picture,) = computations.picture_embedding(coarse, no_progress)
    assert picture.step == coarse.step == 4
    assert picture.pixels.shape == (13, 18, 3)


def test_approximate_features_come_before_the_exact_ones():
    pixels = np.random.default_rng(0).random((96, 120, 1)) * np.linspace(1, 2, 40)
    cube = SpectralCube(pixels.astype(np.float32), np.linspace(450, 840, 40))

    quick, exact = computations.compute_features(cube, None, "carl-nano", "cpu", no_progress)

    assert (quick.is_approximate, exact.is_approximate) == (True, False)
    assert quick.embedding.fidelity >= 0.99
    close = [
        np.corrcoef(of_quick.ravel(), of_exact.ravel())[0, 1]
        for of_quick, of_exact in zip(
            (quick.embedding.spectral, quick.embedding.spatial),
            (exact.embedding.spectral, exact.embedding.spatial),
            strict=True,
        )
    ]
    assert min(close) > 0.95


def test_features_that_turbo_leaves_exact_are_not_computed_again():
    pixels = np.random.default_rng(0).random((50, 70, 3)).astype(np.float32)
    cube = SpectralCube(pixels, np.array([450.0, 550.0, 650.0]))

    (features,) = computations.compute_features(cube, None, "carl-nano", "cpu", no_progress)

    assert not features.is_approximate


def test_the_colours_of_a_large_cube_are_coarse_first(large):
    coarse, exact = computations.picture_true_colour(large, no_progress)

    assert (coarse.step, coarse.pixels.shape) == (2, (25, 35, 3))
    assert (exact.step, exact.pixels.shape) == (1, (50, 70, 3))
    assert coarse.name == exact.name == "True colour"
