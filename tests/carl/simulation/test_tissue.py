"""Reflectance and transmittance compared with Monte Carlo simulation and known properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.simulation.camera import gaussian_camera
from carl.simulation.tissue import (
    SECTION_PARAMETERS,
    TISSUE_PARAMETERS,
    diffuse_reflectance,
    section_transmittance,
    tissue_reflectance,
)

NM = np.arange(450.0, 1000.0, 2.0)
SAMPLES = np.eye(NM.size, dtype=np.float32)

DERMIS = {
    "oxygenation": 0.7, "blood": 0.02, "water": 0.65, "fat": 0.0, "bilirubin": 0.1, "melanin": 0.0,
    "scatter": 40.0, "rayleigh": 0.3, "glare": 0.0,
}  # fmt: skip


def spectrum(**changes: float) -> np.ndarray:
    maps = {name: np.full((1, 1), value, np.float32) for name, value in (DERMIS | changes).items()}
    return tissue_reflectance(maps, NM, SAMPLES, 1.0)[0, 0]


def monte_carlo(ratio: float, n: int = 30_000, index: float = 1.4) -> float:
    """Simulate the reflectance of a half space: isotropic scattering, Fresnel reflection.

    Lengths in units of the mean free path between scatterings; photons lose weight by absorption.
    """
    generator = np.random.default_rng(0)
    depth, down, weight, escaped = np.zeros(n), np.ones(n), np.ones(n), 0.0
    for _ in range(2000):
        path = generator.exponential(1, depth.size)
        deeper = depth + down * path
        out = deeper < 0
        inside_path = np.where(out, depth / np.maximum(-down, 1e-12), path)
        weight = weight * np.exp(-ratio * inside_path)
        leaves = out & (generator.random(depth.size) > _fresnel(-down, index))
        escaped += weight[leaves].sum()
        # Those thrown back at the surface go on downwards with the rest of their way.
        depth = np.where(out, -deeper, deeper)
        weight = np.where(out, weight * np.exp(-ratio * (path - inside_path)), weight)
        keep = ~leaves & (weight > 1e-4)
        depth, weight = depth[keep], weight[keep]
        down = generator.uniform(-1, 1, depth.size)
        if not depth.size:
            break
    return escaped / n


def _fresnel(cosine: np.ndarray, index: float) -> np.ndarray:
    """Return the unpolarised reflectance of the inner side of a surface."""
    sine = index * np.sqrt(1 - np.clip(cosine, 0, 1) ** 2)
    outside = np.sqrt(np.maximum(1 - sine**2, 0))
    s = ((index * cosine - outside) / (index * cosine + outside + 1e-12)) ** 2
    p = ((cosine - index * outside) / (cosine + index * outside + 1e-12)) ** 2
    return np.where(sine >= 1, 1.0, (s + p) / 2)


@pytest.mark.parametrize(("ratio", "tolerance"), [(0.003, 0.04), (0.03, 0.06), (0.3, 0.15)])
def test_reflectance_agrees_with_monte_carlo_simulation(ratio: float, tolerance: float):
    formula = float(diffuse_reflectance(np.array([ratio], np.float32))[0])
    assert formula == pytest.approx(monte_carlo(ratio), rel=tolerance)


@given(st.lists(st.floats(0, 1e4, width=32), min_size=2, max_size=20))
def test_reflectance_decreases_with_absorption(ratios: list[float]):
    values = diffuse_reflectance(np.array(sorted(ratios), np.float32))
    assert (values > 0).all()
    assert (values <= 1).all()
    assert (np.diff(values) <= 1e-6).all()


@given(st.floats(0, 1), st.floats(0.001, 0.3), st.floats(0, 1), st.floats(5, 60), st.floats(0, 0.4))
def test_reflectance_is_between_zero_and_one(oxygenation, blood, fat, scatter, melanin):
    values = spectrum(
        oxygenation=oxygenation, blood=blood, fat=fat, scatter=scatter, melanin=melanin
    )
    assert values.min() > 0
    assert values.max() < 1
    darker = spectrum(
        oxygenation=oxygenation, blood=1.5 * blood, fat=fat, scatter=scatter, melanin=melanin
    )
    assert (darker <= values + 1e-6).all()


def test_oxygenated_blood_is_redder():
    with_oxygen, without = spectrum(oxygenation=0.98), spectrum(oxygenation=0.3)
    red, near_infrared = (NM > 620) & (NM < 700), (NM > 850) & (NM < 950)
    assert (with_oxygen[red] > 1.05 * without[red]).all()
    assert (with_oxygen[near_infrared] < without[near_infrared]).all()


def test_substances_darken_the_bands_they_absorb():
    at = {nm: int(np.abs(NM - nm).argmin()) for nm in (460, 540, 660, 800, 900, 930, 970)}
    plain = spectrum()
    assert plain[at[540]] < 0.6 * plain[at[660]]  # blood
    assert spectrum(water=0.9)[at[970]] < plain[at[970]]
    assert spectrum(fat=0.8)[at[930]] < 0.97 * plain[at[930]]
    assert spectrum(bilirubin=20)[at[460]] < 0.8 * plain[at[460]]
    assert spectrum(melanin=0.2)[at[460]] / plain[at[460]] < spectrum(melanin=0.2)[at[900]]
    assert (spectrum(scatter=60) > plain).all()
    np.testing.assert_allclose(spectrum(glare=0.25), 0.25 + 0.75 * plain, rtol=1e-5)


def test_a_section_follows_the_law_of_beer_and_lambert():
    generator = np.random.default_rng(0)
    shape = (5, 7)
    maps = {name: generator.random(shape, np.float32) for name in SECTION_PARAMETERS}
    once = section_transmittance(maps, NM, SAMPLES, 0.0)
    twice = section_transmittance(
        maps | {name: 2 * maps[name] for name in ("haematoxylin", "eosin", "blood")},
        NM,
        SAMPLES,
        0.0,
    )
    assert once.shape == (*shape, NM.size)
    np.testing.assert_allclose(twice, once**2, rtol=1e-4)
    empty = {name: np.zeros(shape, np.float32) for name in SECTION_PARAMETERS}
    np.testing.assert_array_equal(section_transmittance(empty, NM, SAMPLES, 0.0), 1)


def test_pixels_are_independent_of_each_other():
    """A cube computed in several blocks equals its pixels computed alone."""
    generator = np.random.default_rng(0)
    shape = (70, 70)  # more pixels than one block holds
    camera = gaussian_camera([500, 560, 620], 30)
    maps = {name: generator.random(shape, np.float32) + 0.01 for name in TISSUE_PARAMETERS}
    whole = tissue_reflectance(maps, camera.nodes, camera.weights, 1.0)
    one = {name: values[69:, 69:] for name, values in maps.items()}
    alone = tissue_reflectance(one, camera.nodes, camera.weights, 1.0)
    np.testing.assert_allclose(whole[69:, 69:], alone, rtol=1e-5)
