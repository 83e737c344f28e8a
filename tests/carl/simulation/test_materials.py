"""Spectra of materials and their absorption features."""

from __future__ import annotations

import numpy as np
import pytest

from carl.simulation.materials import MATERIALS, material_spectrum

NM = np.arange(380.0, 2501.0, 5.0)


def at(spectrum: np.ndarray, nm: float) -> float:
    return float(spectrum[np.abs(NM - nm).argmin()])


@pytest.mark.parametrize("name", MATERIALS)
def test_spectra_are_reflectance_and_differ(name: str):
    generator = np.random.default_rng(0)
    spectra = np.stack([material_spectrum(name, generator, NM) for _ in range(100)])
    assert spectra.min() >= 0
    assert spectra.max() <= 1
    assert spectra.std(axis=0).mean() > 0.005
    assert np.abs(np.diff(spectra, axis=1)).max() < 0.15  # smooth
    again = material_spectrum(name, np.random.default_rng(0), NM)
    np.testing.assert_array_equal(again, spectra[0])


def test_absorption_features_are_at_their_wavelengths():
    generator = np.random.default_rng(1)
    for _ in range(20):
        leaf = material_spectrum("vegetation", generator, NM)
        assert at(leaf, 670) < at(leaf, 550)  # green
        assert at(leaf, 800) > 2 * at(leaf, 670)  # red edge
        assert at(leaf, 1940) < at(leaf, 1650)  # leaf water
        water = material_spectrum("water body", generator, NM)
        assert at(water, 1000) < 0.05
        snow = material_spectrum("snow", generator, NM)
        assert at(snow, 500) > 0.6
        assert at(snow, 1500) < 0.8 * at(snow, 500)
        soil = material_spectrum("soil", generator, NM)
        assert at(soil, 400) < at(soil, 650)
