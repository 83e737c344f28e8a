"""Filters of simulated cameras and the accuracy of their quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.errors import WavelengthError
from carl.simulation.camera import (
    RANGE_NM,
    SimulatedCamera,
    gaussian_camera,
    gaussian_weights,
    known_camera,
    random_camera,
    tabulated_camera,
    tabulated_weights,
)
from carl.simulation.tissue import TISSUE_PARAMETERS, tissue_reflectance
from carl.wavelengths import cameras

FINE = np.arange(300.0, 2700.0, 0.5)


def tissue(nm: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the spectrum of well perfused tissue."""
    values = (0.9, 0.05, 0.7, 0.1, 0.5, 0.0, 20.0, 0.3, 0.0)
    maps = {
        name: np.full((1, 1), value, np.float32)
        for name, value in zip(TISSUE_PARAMETERS, values, strict=True)
    }
    return tissue_reflectance(maps, nm, weights.astype(np.float32), 1.1)[0, 0]


def is_whole(camera: SimulatedCamera) -> None:
    assert camera.fwhm.shape == camera.wavelengths.shape == (camera.n_bands,)
    assert camera.weights.shape == (camera.nodes.size, camera.n_bands)
    assert camera.weights.min() >= 0
    assert (camera.fwhm > 0).all()
    np.testing.assert_allclose(camera.weights.sum(axis=0), 1, rtol=1e-5)  # constants do not change
    # A filter sees a straight line at its centre.
    np.testing.assert_allclose(camera.nodes @ camera.weights, camera.wavelengths, atol=0.5)


@pytest.mark.parametrize("fwhm", [2, 10, 16, 17, 25, 60, 120])
def test_few_wavelengths_integrate_as_accurately_as_many(fwhm: float):
    camera = gaussian_camera(np.arange(400, 2400, 7.1), fwhm)
    is_whole(camera)
    exact = tissue(FINE, np.eye(FINE.size)) @ gaussian_weights(
        FINE, camera.wavelengths, camera.fwhm / (2 * np.sqrt(2 * np.log(2)))
    )
    np.testing.assert_allclose(tissue(camera.nodes, camera.weights), exact, atol=4e-3)


def test_measured_filters_equal_gaussian_ones_of_their_shape():
    centres, fwhm = np.array([450.0, 550, 620]), np.array([40.0, 20, 60])
    table_nm = np.arange(380.0, 750.0, 2.0)
    sigma = fwhm / (2 * np.sqrt(2 * np.log(2)))
    table = 7 * np.exp(-0.5 * ((table_nm[:, None] - centres) / sigma) ** 2)
    measured, gaussian = tabulated_camera(table_nm, table), gaussian_camera(centres, fwhm)
    is_whole(measured)
    np.testing.assert_allclose(measured.wavelengths, centres, atol=1)
    np.testing.assert_allclose(measured.fwhm, fwhm, rtol=0.05)
    np.testing.assert_allclose(
        tissue(measured.nodes, measured.weights),
        tissue(gaussian.nodes, gaussian.weights),
        atol=6e-3,
    )
    chosen = measured.choose([2, 0])
    np.testing.assert_allclose(chosen.wavelengths, measured.wavelengths[[2, 0]])
    np.testing.assert_allclose(
        tissue(chosen.nodes, chosen.weights), tissue(measured.nodes, measured.weights)[[2, 0]],
        rtol=1e-5,
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(300, 2600), min_size=1, max_size=30, unique_by=lambda x: round(x, 1)),
    st.floats(200, 2700),
    st.floats(0, 200),
)
def test_gaussian_weights_integrate_spectra_linear_between_samples(samples, centre, sigma):
    nm = np.sort(samples)
    weights = gaussian_weights(nm, np.array([centre]), np.array([sigma]))[:, 0]
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    values = np.sin(nm / 150)
    grid = centre + max(sigma, 1e-9) * np.linspace(-6, 6, 6001)
    gaussian = np.exp(-0.5 * np.linspace(-6, 6, 6001) ** 2)
    expected = np.interp(grid, nm, values) @ gaussian / gaussian.sum()
    assert values @ weights == pytest.approx(expected, abs=2e-3)


def test_tabulated_weights_keep_straight_lines():
    table_nm = np.array([500.0, 510, 530, 600])
    table = np.array([[0.0, 1], [1, 0], [0.5, 0], [0, 0]])
    nm = np.linspace(480, 620, 15)
    weights = tabulated_weights(nm, table_nm, table)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-6)
    assert 500 < nm @ weights[:, 1] < 505
    assert 530 < nm @ weights[:, 0] < 540


@pytest.mark.parametrize("camera", cameras(), ids=lambda camera: camera.name)
def test_known_cameras_can_be_simulated(camera):
    simulated = known_camera(camera)
    is_whole(simulated)
    np.testing.assert_array_equal(simulated.wavelengths, camera.wavelengths)
    if camera.fwhm is not None:
        np.testing.assert_array_equal(simulated.fwhm, camera.fwhm)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_cameras_are_valid_and_reproducible(seed: int):
    camera, again = (random_camera(np.random.default_rng(seed)) for _ in range(2))
    is_whole(camera)
    np.testing.assert_array_equal(camera.weights, again.weights)
    assert 3 <= camera.n_bands <= 224
    assert camera.wavelengths.min() >= RANGE_NM[0]
    assert camera.wavelengths.max() <= RANGE_NM[1]


def test_random_cameras_have_few_and_many_bands():
    generator = np.random.default_rng(0)
    sizes = np.array([random_camera(generator).n_bands for _ in range(300)])
    assert (sizes < 10).any()
    assert (sizes > 150).any()
    few = [random_camera(generator, (4, 6), (400, 1000)) for _ in range(50)]
    assert all(4 <= camera.n_bands <= 6 for camera in few)
    assert all(400 <= nm <= 1000 for camera in few for nm in camera.wavelengths)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gaussian_camera([500, 600], [10, 20, 30]),
        lambda: gaussian_camera([500, 600], [10, -1]),
        lambda: gaussian_camera([500, np.nan], 10),
        lambda: tabulated_camera([500, 600], [1, 2]),
        lambda: tabulated_camera([600, 500], [[1.0], [2]]),
        lambda: tabulated_camera([500, 600], [[0.0], [0]]),
        lambda: tabulated_camera([500, 600], [[-1.0], [2]]),
    ],
)
def test_malformed_filters_are_refused(make):
    with pytest.raises(WavelengthError, match=r"[.]$"):
        make()
