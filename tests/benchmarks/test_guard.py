"""The speed of inference, as ratios within one run."""

from __future__ import annotations

import guard


def test_no_way_has_become_slower() -> None:
    assert guard.too_low(guard.measured()) == []


def test_a_ratio_that_is_too_low_is_reported() -> None:
    assert guard.too_low({"exact over naive": 100.0}) == []
    (found,) = guard.too_low({"exact over naive": 0.2, "turbo over exact": 100.0})
    assert "0.20 times as fast" in found
