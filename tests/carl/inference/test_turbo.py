from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.inference.turbo import BandGroups, groups_to_try


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


@given(n_bands=st.integers(2, 300))
def test_the_fewest_groups_are_tried_first_and_a_colour_picture_is_the_least(n_bands: int) -> None:
    counts = [each.starts.size for each in groups_to_try(np.arange(1.0, n_bands + 1))]
    assert counts == sorted(counts)
    assert all(3 <= count < n_bands for count in counts)
    assert bool(counts) == (n_bands > 4)
