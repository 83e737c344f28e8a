from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.inference.turbo import BandGroups, choose_groups

NM = np.linspace(400, 790, 40)


@given(n_bands=st.integers(2, 60), size=st.integers(2, 16), seed=st.integers(0, 9))
def test_groups_are_neighbours_and_hold_every_band_once(n_bands: int, size: int, seed: int) -> None:
    wavelengths = np.random.default_rng(seed).permutation(np.arange(n_bands) * 10.0 + 400)
    groups = BandGroups.of(wavelengths, size)
    members = np.split(groups.order, groups.starts[1:])
    assert sorted(np.concatenate(members)) == list(range(n_bands))
    assert max(map(len, members)) <= size
    assert max(map(len, members)) - min(map(len, members)) <= 1
    strip = wavelengths[:, None, None].astype(np.float32)
    for group, nm, value in zip(
        members, groups.wavelengths, groups.merge(strip)[:, 0, 0], strict=True
    ):
        assert np.ptp(wavelengths[group]) == pytest.approx(10 * (len(group) - 1))
        assert nm == pytest.approx(wavelengths[group].mean())
        assert value == pytest.approx(nm, rel=1e-6)


def mean_and_slope(strip: np.ndarray, nm: np.ndarray) -> np.ndarray:
    """Features that hardly mind fewer bands: two moments of each patch's spectrum."""
    spectra = strip[:, 0].T.astype(np.float64)
    centred = (nm - nm.mean()) / np.ptp(nm)
    return np.stack([spectra.mean(1), spectra @ centred / len(nm)], axis=1).astype(np.float32)


def first_bands(strip: np.ndarray, nm: np.ndarray) -> np.ndarray:
    """Features of single bands, which merging destroys."""
    return strip[:3, 0].T


def test_smooth_features_allow_the_largest_groups() -> None:
    slopes = np.random.default_rng(0).normal(size=20)
    strip = (1 + slopes * np.linspace(-1, 1, 40)[:, None])[:, None].astype(np.float32)
    groups, fidelity = choose_groups(strip, NM, mean_and_slope)
    assert groups is not None
    assert len(groups.wavelengths) == 3
    assert 0.99 <= fidelity < 1


def test_features_of_single_bands_allow_none() -> None:
    strip = np.random.default_rng(0).normal(size=(40, 1, 20)).astype(np.float32)
    assert choose_groups(strip, NM, first_bands) == (None, 1.0)


def test_few_bands_are_left_alone() -> None:
    strip = np.ones((4, 1, 5), np.float32)
    assert choose_groups(strip, NM[:4], mean_and_slope) == (None, 1.0)
