"""The speed of inference, as ratios within one run; never a time."""

from __future__ import annotations

import guard


def test_no_way_has_lost_its_speed() -> None:
    assert guard.too_low(guard.measured()) == []


def test_a_lost_way_is_noticed() -> None:
    assert guard.too_low({"exact over naive": 100.0}) == []
    (found,) = guard.too_low({"exact over naive": 0.9, "turbo over exact": 100.0})
    assert "0.90 times as fast" in found
