"""``carl embed`` of a cube that takes a while: interrupted, and going on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carl.cube import SpectralCube
from carl.io import write_cube

_PATIENCE = 600
"""Seconds; only ever waited for where something is wrong."""


@pytest.fixture
def large_path(tmp_path: Path) -> Path:
    """A cube of several blocks."""
    values = np.random.default_rng(0).random((256, 256, 100), np.float32)
    write_cube(tmp_path / "large.hdr", SpectralCube(values, np.linspace(450, 900, 100)))
    return tmp_path / "large.hdr"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_terminated_it_goes_on_where_it_was(call, large_path: Path, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--precision", "float32")
    command = (sys.executable, "-m", "carl", "embed", large_path, "-o", "cut.npz", *options)
    partial = tmp_path / "cut.npz.partial"
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not (partial / "spectral-000000.npy").exists():
        assert process.poll() is None
        assert time.monotonic() < began + _PATIENCE
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 130
    assert said == (
        "carl: Interrupted: finished parts are saved in cut.npz.partial; run the same command "
        "again to resume.\n"
    )
    assert not (tmp_path / "cut.npz").exists()
    finished = {path: path.stat().st_mtime_ns for path in partial.glob("*.npy")}
    assert finished

    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0
    assert again.stderr.startswith("Continuing the run that was interrupted at ")
    assert not partial.exists()
    assert call("embed", large_path, "-o", tmp_path / "whole.npz", *options)[0] == 0
    assert (tmp_path / "cut.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_an_interruption_before_anything_is_finished_leaves_nothing(
    call, cube_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("carl.inference.pipeline.check_wishes", interrupted)
    status, out, err = call("embed", cube_path, "-o", tmp_path / "two.npz", "--device", "cpu")
    assert (status, out) == (130, "")
    assert err.endswith("carl: Interrupted: nothing was written.\n")
    assert not list(tmp_path.glob("two.npz*"))


def test_the_picture_of_a_huge_cube_has_a_pixel_for_each_patch(
    call, cube_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carl.inference.pca._MOST_PIXELS", 40 * 48 - 1)
    output = ("-o", tmp_path / "two.npz", "--pca", tmp_path / "two.png")
    assert call("embed", cube_path, *output, "--device", "cpu")[0] == 0
    with Image.open(tmp_path / "two.png") as image:
        assert image.size == (6, 5)
