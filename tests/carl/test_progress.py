from __future__ import annotations

from carl.progress import part


def test_a_part_reports_its_share_of_the_whole():
    told = []
    halves = part(lambda fraction, message: told.append((fraction, message)), 0.5, 1.0)
    halves(0.0, "start")
    halves(0.5, "middle")
    part(halves, 0.5, 1.0)(1.0, "end")
    assert told == [(0.5, "start"), (0.75, "middle"), (1.0, "end")]
