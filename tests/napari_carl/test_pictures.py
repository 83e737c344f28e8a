from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.progress import no_progress
from napari_carl import layer_data, pictures


def test_class_spectra_leave_out_missing_values():
    pixels = np.ones((2, 3, 2), np.float32)
    pixels[0, :, 0] = [1, 3, np.nan]
    strokes = np.array([[1, 1, 1], [0, 0, 2]], np.uint8)

    spectra = pictures.class_spectra(SpectralCube(pixels), strokes, no_progress)

    np.testing.assert_allclose(spectra[1].mean, [2, 1])
    np.testing.assert_allclose(spectra[1].deviation, [1, 0])
    np.testing.assert_allclose(spectra[2].deviation, [0, 0])


def test_class_spectra_without_strokes_are_empty():
    cube = SpectralCube(np.ones((2, 3, 2), np.float32))

    assert pictures.class_spectra(cube, np.zeros((2, 3), np.uint8), no_progress) == {}


def test_default_bands_are_red_green_and_blue():
    nm = np.arange(400.0, 710.0, 10.0)
    cube = SpectralCube(np.ones((2, 2, nm.size), np.float32), nm)

    assert nm[list(pictures.default_bands(cube))].tolist() == [630, 540, 460]


def test_default_bands_without_wavelengths_are_spread_over_the_bands():
    red, green, blue = pictures.default_bands(SpectralCube(np.ones((2, 2, 9), np.float32)))

    assert red > green > blue


@pytest.fixture
def large(monkeypatch):
    """A cube that counts as large."""
    monkeypatch.setattr(layer_data, "_PREVIEW_VALUES", 20_000)
    pixels = np.random.default_rng(0).random((50, 70, 12)).astype(np.float32)
    return SpectralCube(pixels, np.linspace(450, 660, 12))


def test_a_large_cube_has_a_preview_of_its_colours(large):
    coarse, exact = pictures.picture_true_colour(large, no_progress)

    assert (coarse.step, coarse.pixels.shape) == (2, (25, 35, 3))
    assert (exact.step, exact.pixels.shape) == (1, (50, 70, 3))
    assert coarse.name == exact.name == "True colour"
