"""A small cube of two materials, labels for it, and commands run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carl.cli.app import run
from carl.cube import SpectralCube
from carl.io import write_cube, write_labels

NM = np.linspace(450, 800, 8)
SHAPE = (40, 48)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command: its exit status, stdout and stderr."""
    monkeypatch.delenv("CARL_DEBUG", raising=False)

    def call_(*arguments: object) -> tuple[int, str, str]:
        status = run([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return call_


@pytest.fixture
def call_json(call: Run) -> Callable[..., Any]:
    """Run a command that has to succeed, with --json: what it printed."""

    def call_(*arguments: object) -> Any:
        status, out, err = call(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return call_


@pytest.fixture
def truth() -> np.ndarray:
    """Left and right half."""
    labels = np.ones(SHAPE, np.uint8)
    labels[:, SHAPE[1] // 2 :] = 2
    return labels


@pytest.fixture
def cube_path(tmp_path: Path, truth: np.ndarray) -> Path:
    """A cube of two materials."""
    spectra = np.stack([np.zeros(8), np.linspace(0.2, 0.9, 8), np.linspace(0.9, 0.2, 8)])
    noise = np.random.default_rng(0).normal(0, 0.02, (*SHAPE, 8))
    cube = SpectralCube((spectra[truth] + noise).astype(np.float32), NM, name="two")
    write_cube(tmp_path / "two.hdr", cube)
    return tmp_path / "two.hdr"


@pytest.fixture
def strokes_path(tmp_path: Path, truth: np.ndarray) -> Path:
    """A few labelled pixels of it."""
    strokes = np.zeros_like(truth)
    strokes[10:13, 4:20] = 1
    strokes[20:23, 30:44] = 2
    write_labels(tmp_path / "strokes.png", strokes)
    return tmp_path / "strokes.png"


@pytest.fixture
def segmenter_path(call: Run, cube_path: Path, strokes_path: Path, tmp_path: Path) -> Path:
    """What `carl fit` made of them, without a network."""
    path = tmp_path / "two.carl"
    pair = ("--pair", cube_path, strokes_path)
    assert call("fit", *pair, "-o", path, "--model", "none", "--classes", "left,right")[0] == 0
    return path
