"""Simulated acquisitions: statistics of the noise, and effects that are switched off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carl.simulation.acquisition import (
    Acquisition,
    capture,
    lamp_spectrum,
    perfect_acquisition,
    random_acquisition,
)
from carl.simulation.camera import gaussian_camera, random_camera

CAMERA = gaussian_camera([500, 600, 700], 20)
LIGHT = np.array([0.5, 1.0, 0.25])


def grey(value: float = 0.4, side: int = 150) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


def test_a_perfect_acquisition_returns_the_scene():
    scene = np.random.default_rng(0).random((9, 8, 3), np.float32)
    np.testing.assert_array_equal(capture(scene.copy(), perfect_acquisition(CAMERA)), scene)


def test_noise_is_shot_and_read_noise():
    """The variance of counts is their mean plus the variance of the read noise."""
    how = Acquisition(LIGHT, electrons=2000, read_noise=12)
    for value in (0.0, 0.1, 0.8):
        taken = capture(grey(value), how, np.random.default_rng(0))
        white = 2000 * LIGHT
        expected = np.sqrt(white * value + 12**2) / white
        np.testing.assert_allclose(taken.std(axis=(0, 1)), expected, rtol=0.03)
        np.testing.assert_allclose(taken.mean(axis=(0, 1)), value, atol=5 * expected.max() / 150)
        assert abs(np.corrcoef(taken[..., 0].ravel(), taken[..., 1].ravel())[0, 1]) < 0.03
        assert abs(np.corrcoef(taken[:, 1:, 0].ravel(), taken[:, :-1, 0].ravel())[0, 1]) < 0.03


def test_raw_counts_contain_the_light():
    how = Acquisition(LIGHT, electrons=1e9, read_noise=0, referenced=False, exposure=2)
    taken = capture(grey(), how, np.random.default_rng(0))
    np.testing.assert_allclose(taken.mean(axis=(0, 1)), 2 * 0.4 * LIGHT, rtol=1e-3)


def test_bad_bands_contain_noise_only():
    how = Acquisition(LIGHT, electrons=1e9, bad_bands=np.array([False, True, False]))
    taken = capture(grey(0.7), how, np.random.default_rng(0))
    assert abs(taken[..., 1].mean()) < 0.02
    assert taken[..., 1].std() == pytest.approx(0.5, rel=0.05)
    np.testing.assert_allclose(taken[..., [0, 2]], 0.7, atol=0.01)


def test_blur_keeps_the_mean_and_shading_the_centre():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    how = replace(perfect_acquisition(CAMERA), blur=1.5)
    taken = capture(point, how)
    np.testing.assert_allclose(taken.sum(axis=(0, 1)), 1, rtol=1e-4)
    rows = np.arange(41) - 20
    assert (taken[..., 0].sum(axis=1) @ rows**2) == pytest.approx(1.5**2, rel=0.05)
    shaded = capture(grey(0.4, 41), replace(how, blur=0.0, shading=0.3))
    assert shaded[20, 20, 0] == pytest.approx(0.4)
    assert shaded[0, 0, 0] == pytest.approx(0.4 * 0.7)


def test_noise_needs_a_generator():
    with pytest.raises(ValueError, match="generator"):
        capture(grey(), Acquisition(LIGHT))


def test_random_acquisitions_are_valid_and_reproducible():
    for seed in range(100):
        camera = random_camera(np.random.default_rng(seed))
        how, again = (random_acquisition(np.random.default_rng(seed), camera) for _ in range(2))
        np.testing.assert_array_equal(how.light, again.light)
        assert how.light.shape == camera.wavelengths.shape
        assert how.light.max() == 1
        assert how.light.min() > 0
        assert how.bad_bands is None or not how.bad_bands.all()


def test_lamp_spectra_have_a_maximum_of_one_and_no_zeros():
    nm = np.arange(380.0, 2500.0, 5.0)
    generator = np.random.default_rng(0)
    for _ in range(50):
        light = lamp_spectrum(generator, nm)
        assert light.max() == pytest.approx(1)
        assert light.min() > 0
