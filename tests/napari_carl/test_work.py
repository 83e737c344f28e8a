from __future__ import annotations

import numpy as np

from carl.cube import SpectralCube
from carl.progress import no_progress
from napari_carl import work


def test_class_spectra_leave_out_missing_values():
    pixels = np.ones((2, 3, 2), np.float32)
    pixels[0, :, 0] = [1, 3, np.nan]
    strokes = np.array([[1, 1, 1], [0, 0, 2]], np.uint8)

    spectra = work.class_spectra(SpectralCube(pixels), strokes, no_progress)

    np.testing.assert_allclose(spectra[1].mean, [2, 1])
    np.testing.assert_allclose(spectra[1].deviation, [1, 0])
    np.testing.assert_allclose(spectra[2].deviation, [0, 0])


def test_class_spectra_of_nothing_are_none():
    cube = SpectralCube(np.ones((2, 3, 2), np.float32))

    assert work.class_spectra(cube, np.zeros((2, 3), np.uint8), no_progress) == {}


def test_composition_begins_with_red_green_and_blue():
    nm = np.arange(400.0, 710.0, 10.0)
    cube = SpectralCube(np.ones((2, 2, nm.size), np.float32), nm)

    assert nm[list(work.first_composition(cube))].tolist() == [630, 540, 460]


def test_composition_without_wavelengths_spreads_over_the_bands():
    red, green, blue = work.first_composition(SpectralCube(np.ones((2, 2, 9), np.float32)))

    assert red > green > blue
