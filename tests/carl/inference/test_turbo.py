from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.arrays import Float32Array
from carl.inference.backend import ComputeBudget
from carl.inference.turbo import BandGroups, Correction, band_statistics, candidate_shortcuts


@given(n_bands=st.integers(2, 60), n_groups=st.integers(1, 16), seed=st.integers(0, 9))
def test_groups_are_adjacent_bands_and_contain_every_band_once(
    n_bands: int, n_groups: int, seed: int
) -> None:
    n_groups = min(n_groups, n_bands)
    wavelengths = np.random.default_rng(seed).permutation(np.arange(n_bands) * 10.0 + 400)
    groups = BandGroups.of(wavelengths, n_groups)
    members = np.split(groups.order, groups.starts[1:])
    assert sorted(np.concatenate(members)) == list(range(n_bands))
    assert len(members) == n_groups
    assert max(map(len, members)) - min(map(len, members)) <= 1
    strip = wavelengths[:, None, None].astype(np.float32)
    for group, nm, value in zip(
        members, groups.wavelengths, groups.merge(strip)[:, 0, 0], strict=True
    ):
        assert np.ptp(wavelengths[group]) == pytest.approx(10 * (len(group) - 1))
        assert nm == pytest.approx(wavelengths[group].mean())
        assert value == pytest.approx(nm, rel=1e-6)


@given(n_bands=st.integers(2, 600), pairs=st.integers(1, 4), queries=st.integers(1, 16))
def test_candidate_shortcuts_are_in_order_of_cost_and_save_work(
    n_bands: int, pairs: int, queries: int
) -> None:
    whole = ComputeBudget(pairs, queries)
    found = candidate_shortcuts(np.arange(1.0, n_bands + 1), whole, min(2, queries))
    costs = [each.budget.pairs * (each.groups.starts.size + each.budget.queries) for each in found]
    full = pairs * (n_bands + queries)
    assert costs == sorted(costs)
    assert sum(costs) <= 3 * full
    assert all(1.5 * cost <= full for cost in costs)
    assert all(3 <= each.groups.starts.size < n_bands for each in found)
    assert len({(each.groups.starts.size, each.budget) for each in found}) == len(found)


def test_candidate_shortcuts_of_a_camera_with_many_bands() -> None:
    found = candidate_shortcuts(np.arange(400.0, 700.0, 3.0), ComputeBudget(3, 8), 2)
    assert found[0].groups.starts.size == 3
    assert found[0].budget == ComputeBudget(1, 2)
    budgets = {each.budget for each in found}
    assert budgets == {
        ComputeBudget(1, 2),
        ComputeBudget(2, 2),
        ComputeBudget(3, 2),
        ComputeBudget(3, 8),
    }


@given(
    n_bands=st.integers(1, 9), size=st.integers(1, 8), n=st.integers(1, 5), seed=st.integers(0, 9)
)
def test_band_statistics_are_means_and_standard_deviations(
    n_bands: int, size: int, n: int, seed: int
) -> None:
    strip = np.random.default_rng(seed).normal(size=(n_bands, size, n * size)).astype(np.float32)
    patches = strip.reshape(n_bands, size, n, size)
    expected = np.concatenate([patches.mean((1, 3)), patches.std((1, 3))]).T
    np.testing.assert_allclose(band_statistics(strip), expected, atol=1e-3)


def _patches(n: int, seed: int) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Approximate features, statistics, and exact features, a quadratic function of both."""
    random = np.random.default_rng(seed)
    shared = np.random.default_rng(0)
    approximate = random.normal(size=(n, 6))
    statistics = 3 * random.normal(size=(n, 4)) + 1
    bent = approximate @ (np.eye(6) + 0.2 * shared.normal(size=(6, 6)))
    exact = bent + 0.1 * statistics @ shared.normal(size=(4, 6)) + 0.1 * approximate**2 + 5
    noise = 0.005 * random.normal(size=exact.shape)
    exact = exact + noise
    return approximate.astype(np.float32), statistics.astype(np.float32), exact.astype(np.float32)


def test_correction_predicts_exact_features_of_new_patches() -> None:
    known, new = _patches(200, 1), _patches(50, 2)
    correction, left_out = Correction.learn(*known, 1e-4)
    assert np.abs(new[0] - new[2]).mean() > 1
    assert np.abs(correction(*new[:2]) - new[2]).mean() < 0.05
    assert np.abs(left_out - known[2]).mean() < 0.05


def test_correction_of_an_outlier_is_bounded() -> None:
    correction, _ = Correction.learn(*_patches(200, 1), 1e-4)
    approximate, statistics, _ = _patches(1, 2)
    near, far = (correction(approximate, statistics * times) for times in (1e3, 1e6))
    np.testing.assert_allclose(near, far, rtol=0.01)


@pytest.mark.parametrize("patch", [0, 17])
def test_left_out_predictions_are_those_of_a_regression_without_the_patch(patch: int) -> None:
    approximate, statistics, exact = _patches(30, 3)
    correction, left_out = Correction.learn(approximate, statistics, exact, 0.1)
    # Learned from the other patches: ridge regression with an unpenalised constant.
    product = correction.patches.T.astype(float) @ correction.patches
    gram = (1 + product / 2) ** 2 - 1
    ridge = 0.1 * np.trace(gram - gram.mean(0)) / len(gram)
    others = np.delete(np.arange(30), patch)
    system = np.ones((30, 30))
    system[:29, :29] = gram[np.ix_(others, others)] + ridge * np.eye(29)
    system[29, 29] = 0
    difference = (exact - approximate)[others]
    solution = np.linalg.solve(system, np.vstack([difference, np.zeros((1, 6))]))
    again = approximate[patch] + gram[patch, others] @ solution[:29] + solution[29]
    np.testing.assert_allclose(again, left_out[patch], atol=1e-3)
