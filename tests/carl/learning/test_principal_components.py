from __future__ import annotations

import numpy as np

from carl.learning.principal_components import MinimumNoiseFraction, PrincipalComponents


def test_components_are_uncorrelated_and_softly_scaled():
    generator = np.random.default_rng(0)
    spreads = np.array([10.0, 3.0, 1.0, 0.1])
    features = (generator.normal(size=(4000, 4)) * spreads + 5).astype(np.float32)
    components = PrincipalComponents.fit(features, 3)(features)
    covariance = np.cov(components.T)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=0.02)
    found = components.std(axis=0)
    np.testing.assert_allclose(found / found[0], (spreads[:3] / 10) ** 0.3, rtol=0.05)
    np.testing.assert_allclose(np.mean(found**2), 1, rtol=0.02)


def test_a_noisy_band_does_not_dominate():
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(5000, 1)) * np.array([1.0, 0.8, 0.5, 0.0])
    noise = np.array([0.05, 0.05, 0.05, 3.0])
    here = signal + generator.normal(size=(5000, 4)) * noise
    beside = signal + generator.normal(size=(5000, 4)) * noise
    basis = MinimumNoiseFraction.fit(here, beside - here, 1)
    component = basis(here.astype(np.float32))[:, 0]
    assert abs(np.corrcoef(component, signal[:, 0])[0, 1]) > 0.98


def basis_of_two() -> tuple[MinimumNoiseFraction, np.ndarray]:
    generator = np.random.default_rng(0)
    directions = np.array([[1.0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 2]])
    spectra = generator.normal(size=(5000, 2)) @ directions
    spectra += generator.normal(size=spectra.shape) * 0.01
    differences = generator.normal(size=spectra.shape) * 0.014
    return MinimumNoiseFraction.fit(spectra, differences, 2), spectra.astype(np.float32)


def test_components_of_the_same_bands_are_estimated_exactly():
    basis, spectra = basis_of_two()
    gain, error_variance = basis.estimator(
        np.eye(6, dtype=np.float32), np.zeros((6, 6), np.float32)
    )
    np.testing.assert_allclose((spectra - basis.mean) @ gain, basis(spectra), atol=0.05)
    assert error_variance.max() < 0.01


def test_missing_bands_give_an_error_variance():
    basis, spectra = basis_of_two()
    first_bands = np.eye(6, 3, dtype=np.float32)
    gain, error_variance = basis.estimator(first_bands, np.zeros((6, 3), np.float32))
    estimated = (spectra[:, :3] - basis.mean[:3]) @ gain
    error = np.mean((estimated - basis(spectra)) ** 2, axis=0) / basis.spread**2
    np.testing.assert_allclose(error, error_variance, atol=0.05)
    assert error_variance.max() > 0.3


def test_an_uncertain_camera_gives_a_larger_error_variance():
    basis, _ = basis_of_two()
    observation = np.eye(6, dtype=np.float32)
    _, certain = basis.estimator(observation, 0 * observation)
    _, uncertain = basis.estimator(observation, 0.3 * observation)
    assert (uncertain > certain + 0.01).all()
