from __future__ import annotations

import pytest

from carl.progress import TimeLeft, subprogress


def test_a_subprogress_reports_its_range_of_the_whole():
    reports = []
    halves = subprogress(lambda fraction, message: reports.append((fraction, message)), 0.5, 1.0)
    halves(0.0, "start")
    halves(0.5, "middle")
    subprogress(halves, 0.5, 1.0)(1.0, "end")
    assert reports == [(0.5, "start"), (0.75, "middle"), (1.0, "end")]


class Clock:
    """Clock set by a test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_the_recent_speed():
    clock = Clock()
    left = TimeLeft(clock)
    texts = {}
    for second in range(0, 401):
        clock.now = second
        # 1 % per second, then 0.1 % per second.
        fraction = second / 100 if second <= 50 else 0.5 + (second - 50) / 1000
        texts[second] = left.text(fraction)
    assert texts[1] == ""
    assert texts[40] == ", 60 s left"
    assert texts[350] == ", 3 min left"
    assert left.seconds(0.85) == pytest.approx(150, rel=0.05)


def test_the_time_left_is_unknown_without_progress():
    clock = Clock()
    left = TimeLeft(clock)
    for second in range(100):
        clock.now = second
        assert left.text(0.3) == ""


def test_long_times_are_given_in_hours():
    clock = Clock()
    left = TimeLeft(clock)
    left.text(0.0)
    clock.now = 10.0
    assert left.text(10 / 7500) == ", 2 h 05 min left"
