from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.inference.folded import Effort
from carl.inference.turbo import BandGroups, Correction, shortcuts


@given(n_bands=st.integers(2, 60), n_groups=st.integers(1, 16), seed=st.integers(0, 9))
def test_groups_are_neighbours_and_hold_every_band_once(
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
def test_the_cheapest_shortcuts_are_tried_first_and_only_what_saves_work(
    n_bands: int, pairs: int, queries: int
) -> None:
    whole = Effort(pairs, queries)
    found = shortcuts(np.arange(1.0, n_bands + 1), whole, min(2, queries))
    costs = [each.effort.pairs * (each.groups.starts.size + each.effort.queries) for each in found]
    full = pairs * (n_bands + queries)
    assert costs == sorted(costs)
    assert sum(costs) <= 3 * full
    assert all(1.5 * cost <= full for cost in costs)
    assert all(4 <= each.groups.starts.size < n_bands for each in found)
    assert len({(each.groups.starts.size, each.effort) for each in found}) == len(found)


def test_many_bands_are_worth_trying() -> None:
    found = shortcuts(np.arange(400.0, 700.0, 3.0), Effort(3, 8), 2)
    assert found[0].groups.starts.size == 4
    assert found[0].effort == Effort(1, 2)
    assert {each.effort for each in found} == {Effort(1, 2), Effort(3, 2), Effort(3, 8)}


def test_a_correction_takes_off_what_is_the_same_all_over() -> None:
    random = np.random.default_rng(0)
    exact = random.normal(size=(200, 6)).astype(np.float32) + 5
    bent = exact @ (np.eye(6) + 0.2 * random.normal(size=(6, 6))) - 3
    approximate = (bent + 0.01 * random.normal(size=bent.shape)).astype(np.float32)
    correction, left_out = Correction.learn(approximate[:100], exact[:100], 1e-3)
    assert np.abs(approximate[100:] - exact[100:]).mean() > 1
    assert np.abs(correction(approximate[100:]) - exact[100:]).mean() < 0.02
    assert np.abs(left_out - exact[:100]).mean() < 0.02


def test_what_a_patch_becomes_without_it_is_known_without_learning_again() -> None:
    random = np.random.default_rng(1)
    approximate, exact = random.normal(size=(2, 30, 40)).astype(np.float32)
    # The penalty is relative to the centred features, which change when a patch is left out.
    centred = approximate - approximate.mean(axis=0)
    size = np.mean(np.sum(centred**2, axis=1))
    _, left_out = Correction.learn(approximate, exact, 0.1)
    for patch in (0, 17):
        others = np.delete(np.arange(30), patch)
        rest = approximate[others] - approximate[others].mean(axis=0)
        penalty = 0.1 * size / np.mean(np.sum(rest**2, axis=1))
        again, _ = Correction.learn(approximate[others], exact[others], penalty)
        np.testing.assert_allclose(again(approximate[[patch]])[0], left_out[patch], atol=1e-4)
