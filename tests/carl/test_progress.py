from __future__ import annotations

import pytest

from carl.progress import TimeLeft, subprogress


def test_a_part_reports_its_share_of_the_whole():
    told = []
    halves = subprogress(lambda fraction, message: told.append((fraction, message)), 0.5, 1.0)
    halves(0.0, "start")
    halves(0.5, "middle")
    subprogress(halves, 0.5, 1.0)(1.0, "end")
    assert told == [(0.5, "start"), (0.75, "middle"), (1.0, "end")]


class Clock:
    """A time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_follows_the_pace_of_late():
    clock = Clock()
    left = TimeLeft(clock)
    notes = {}
    for second in range(0, 401):
        clock.now = second
        # A hundredth of the work a second, then a thousandth.
        fraction = second / 100 if second <= 50 else 0.5 + (second - 50) / 1000
        notes[second] = left.note(fraction)
    assert notes[1] == ""
    assert notes[40] == ", 60 s left"
    assert notes[350] == ", 3 min left"
    assert left.seconds(0.85) == pytest.approx(150, rel=0.05)


def test_time_stands_still_where_work_does():
    clock = Clock()
    left = TimeLeft(clock)
    for second in range(100):
        clock.now = second
        assert left.note(0.3) == ""


def test_hours_are_told_as_such():
    clock = Clock()
    left = TimeLeft(clock)
    left.note(0.0)
    clock.now = 10.0
    assert left.note(10 / 7500) == ", 2 h 05 min left"
