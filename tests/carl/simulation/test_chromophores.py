"""Absorption spectra compared with published values."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from carl.simulation.chromophores import (
    STAINS,
    Substance,
    absorption,
    reduced_scattering,
    stain_density,
)

NM = np.arange(380, 2500.5, 0.5)


def peaks(values: np.ndarray, nm: np.ndarray, low: float, high: float) -> float:
    """Return the wavelength of the maximum between two wavelengths."""
    inside = (nm >= low) & (nm <= high)
    return float(nm[inside][values[inside].argmax()])


@pytest.mark.parametrize("nm", [500, 529, 545, 570, 584, 797])
def test_haemoglobin_has_its_isosbestic_points(nm: float):
    difference = absorption("oxyhaemoglobin", NM) - absorption("deoxyhaemoglobin", NM)
    crossings = NM[:-1][np.diff(np.sign(difference)) != 0]
    assert np.abs(crossings - nm).min() <= 2


def test_haemoglobin_has_its_bands():
    oxygenated, without = (absorption(f"{k}haemoglobin", NM) for k in ("oxy", "deoxy"))
    assert peaks(oxygenated, NM, 400, 450) == pytest.approx(415, abs=2)
    assert peaks(oxygenated, NM, 520, 560) == pytest.approx(542, abs=2)
    assert peaks(oxygenated, NM, 560, 600) == pytest.approx(577, abs=2)
    assert peaks(without, NM, 400, 450) == pytest.approx(433, abs=2)
    assert peaks(without, NM, 520, 600) == pytest.approx(555, abs=2)
    assert peaks(without, NM, 720, 800) == pytest.approx(758, abs=3)


def test_whole_blood_is_the_converted_table():
    """The source of the table converts by 2.303 e (150 g/l) / (64 500 g/mol); at 900 nm."""
    expected = [2.303 * e * 150 / 64_500 for e in (1198, 761.84)]
    given = [absorption(f"{kind}haemoglobin", [900])[0] for kind in ("oxy", "deoxy")]
    np.testing.assert_allclose(given, expected, rtol=0.006)


@pytest.mark.parametrize(("nm", "value"), [(970, 0.48), (1190, 1.27), (1450, 32.7), (1940, 136)])
def test_water_has_its_bands(nm: float, value: float):
    water = absorption("water", NM)
    assert peaks(water, NM, nm - 60, nm + 60) == pytest.approx(nm, abs=12)
    assert absorption("water", [nm])[0] == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize(
    ("nm", "low", "high"), [(930, 900, 960), (1211, 1150, 1300), (1726, 1650, 1745)]
)
def test_fat_has_its_bands(nm: float, low: float, high: float):
    fat = absorption("fat", NM)
    assert peaks(fat, NM, low, high) == pytest.approx(nm, abs=4)
    assert absorption("fat", [nm]) > absorption("water", [nm])  # fat absorbs more than water


def test_spectra_are_finite_and_not_negative():
    for substance in get_args(Substance):
        values = absorption(substance, NM)
        assert values.shape == NM.shape
        assert np.isfinite(values).all()
        assert values.min() >= 0
        # No step where a table ends and a formula takes over.
        steps = np.abs(np.diff(values)) / np.maximum(values[1:], 1e-3 * values.max())
        assert steps.max() < 0.2, substance


def test_melanin_decreases_and_bilirubin_absorbs_blue():
    assert (np.diff(absorption("melanin", NM)) < 0).all()
    assert peaks(absorption("bilirubin", NM), NM, 380, 600) == pytest.approx(453, abs=4)
    assert absorption("bilirubin", [600])[0] == 0


def test_stains_have_their_published_colours():
    """Densities as red, green and blue: Ruifrok & Johnston 2001, within 0.15 of a unit vector."""
    published = {"haematoxylin": (0.65, 0.70, 0.29), "eosin": (0.07, 0.99, 0.11)}
    for stain in STAINS:
        density = stain_density(stain, NM)
        assert density.max() == pytest.approx(1, abs=1e-3)
        channels = [
            stain_density(stain, np.arange(low, high)).mean()
            for low, high in ((590, 680), (500, 580), (420, 490))
        ]
        np.testing.assert_allclose(channels / np.linalg.norm(channels), published[stain], atol=0.15)
        np.testing.assert_allclose(stain_density(stain, NM + 7, shift=7), density)


def test_stains_fit_the_densities_of_the_sample():
    """The densities of sample pixels are sums of the two stains, to the noise of their means."""
    from carl.files import resource_path
    from carl.io import read_cube, read_labels

    cube = read_cube(resource_path("sample", "bladder.tif"))
    labels = read_labels(resource_path("sample", "bladder_labels.png"), cube.shape).labels
    nm = cube.require_wavelengths()
    stains = np.stack([stain_density(stain, nm) for stain in STAINS], axis=1)
    used = (nm >= 450) & (nm <= 750)
    for label in (2, 3, 4):  # urothelium, stroma, blood
        density = -np.log10(cube.to_numpy()[labels == label]).mean(axis=0)
        amounts, *_ = np.linalg.lstsq(stains[used], density[used], rcond=None)
        assert (amounts > 0).all()
        np.testing.assert_allclose(stains[used] @ amounts, density[used], atol=0.06 * density.max())


def test_scattering_is_a_power_law():
    assert reduced_scattering([500], 25, 0.3, 1.1) == pytest.approx(25)
    assert reduced_scattering([1000], 25, 1, 1.1) == pytest.approx(25 / 16)
    assert reduced_scattering([1000], 25, 0, 1.0) == pytest.approx(25 / 2)
