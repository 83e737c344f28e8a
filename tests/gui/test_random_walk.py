"""A random walk in the window and windows that are killed; the benchmark walks further."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
from random_walk import WINDOW, RandomWalk, tiny_network, write_cubes

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SECONDS = 30
"""Length of the walk."""


def test_nothing_is_lost_or_shown_wrongly_in_a_random_walk(make_napari_viewer, tmp_path):
    write_cubes(tmp_path)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*WINDOW)
    with tiny_network():
        walk = RandomWalk(viewer, tmp_path, seed=1)
        end = monotonic() + SECONDS
        walk.run(lambda: monotonic() > end)
        walk.close()

    assert walk.acts
    assert not walk.violations, "\n\n".join(map(str, walk.violations))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a fork and a virtual display")
def test_what_was_saved_before_a_window_was_killed_is_restored():
    found = subprocess.run(
        [sys.executable, "walk.py", "--kills", "2"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stdout + found.stderr
    assert "2 kills, 0 losses" in found.stdout
