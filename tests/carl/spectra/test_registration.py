"""Registration of bands that separate lenses have shifted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.io import read_cube
from carl.spectra.registration import register_bands

SHIFTS = np.array([(0, 0), (7, -4), (-5, 3), (2, 9)])


@pytest.fixture
def scene() -> np.ndarray:
    """A scene of a few hundred edges, larger than the field of view."""
    rng = np.random.default_rng(0)
    return ndimage.gaussian_filter((rng.random((150, 170)) > 0.97).astype(float), 2) * 1e4


@pytest.fixture
def shifted(scene: np.ndarray) -> SpectralCube:
    """Four bands of different contrast, each seen by a lens of its own."""
    bands = [
        gain * scene[20 - row : 120 - row, 20 - column : 140 - column]
        for gain, (row, column) in zip((1, 0.5, -0.7, 2), -SHIFTS, strict=True)
    ]
    pixels = np.stack(bands, axis=-1).astype(np.int16)
    metadata = {"unregistered": "Shifted.", "notes": ("Shifted.", "Other.")}
    return SpectralCube(pixels, [650, 450, 550, 850], name="drone", metadata=metadata)


def test_bands_are_shifted_by_what_was_measured(shifted: SpectralCube):
    registered = register_bands(shifted, reference=0)
    np.testing.assert_allclose(registered.metadata["band_shifts"], SHIFTS, atol=0.3)
    assert registered.shape == (100 - 12, 120 - 13, 4)
    values = registered.to_numpy()
    for band, gain in ((1, 0.5), (2, -0.7), (3, 2)):
        np.testing.assert_allclose(values[..., band], gain * values[..., 0], atol=3)
    np.testing.assert_array_equal(registered.data[5:9, ::-7, 1:3], values[5:9, ::-7, 1:3])
    assert registered.data.dtype == np.int16
    notes = registered.metadata["notes"]
    assert notes[0] == "Other."
    assert "450 nm (+7.0, -4.0)" in notes[1]
    assert "unregistered" not in registered.metadata


def test_a_band_without_common_edges_is_not_shifted_and_named(shifted: SpectralCube):
    pixels = np.array(shifted.data)
    pixels[..., 3] = np.random.default_rng(1).normal(0, 100, pixels.shape[:2])
    registered = register_bands(SpectralCube(pixels, shifted.wavelengths), reference=0)
    assert registered.metadata["band_shifts"][3] == [0, 0]
    assert "850 nm" in registered.metadata["notes"][-1]


def test_a_band_of_one_value_is_not_shifted(shifted: SpectralCube):
    pixels = np.array(shifted.data)
    pixels[..., 1] = 7
    assert register_bands(SpectralCube(pixels), reference=0).metadata["band_shifts"][1] == [0, 0]


def test_too_small_cubes_are_refused():
    with pytest.raises(CubeError, match="16 × 16"):
        register_bands(SpectralCube(np.zeros((9, 9, 2))))


def test_the_lenses_of_a_real_camera_are_registered(shared: Path):
    cube = read_cube(shared / "data/micasense_rededge/IMG_0000_1.tif", register=True)
    expected = [(38.1, -35.4), (27.5, -0.8), (0, 0), (17.7, -35.6), (-4.9, -55.7)]
    np.testing.assert_allclose(cube.metadata["band_shifts"], expected, atol=1)
    assert cube.shape == (917, 1224, 5)
