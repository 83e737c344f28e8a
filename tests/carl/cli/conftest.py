"""Fixtures: a small cube of two materials, its labels, and functions that run commands."""

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
    """Run a command in this process; return its exit status, stdout and stderr."""
    monkeypatch.delenv("CARL_DEBUG", raising=False)

    def call_(*arguments: object) -> tuple[int, str, str]:
        status = run([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return call_


@pytest.fixture
def call_json(call: Run) -> Callable[..., Any]:
    """Run a command with --json, assert that it succeeds, and return the parsed JSON."""

    def call_(*arguments: object) -> Any:
        status, out, err = call(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return call_


@pytest.fixture
def truth() -> np.ndarray:
    """True labels: 1 in the left half, 2 in the right half."""
    labels = np.ones(SHAPE, np.uint8)
    labels[:, SHAPE[1] // 2 :] = 2
    return labels


@pytest.fixture
def cube_path(tmp_path: Path, truth: np.ndarray) -> Path:
    """Cube of two materials, one for each label, with noise."""
    spectra = np.stack([np.zeros(8), np.linspace(0.2, 0.9, 8), np.linspace(0.9, 0.2, 8)])
    noise = np.random.default_rng(0).normal(0, 0.02, (*SHAPE, 8))
    cube = SpectralCube((spectra[truth] + noise).astype(np.float32), NM, name="two")
    write_cube(tmp_path / "two.hdr", cube)
    return tmp_path / "two.hdr"


@pytest.fixture
def labels_path(tmp_path: Path, truth: np.ndarray) -> Path:
    """Label map of the cube with a few labelled pixels."""
    labels = np.zeros_like(truth)
    labels[10:13, 4:20] = 1
    labels[20:23, 30:44] = 2
    write_labels(tmp_path / "labels.png", labels)
    return tmp_path / "labels.png"


@pytest.fixture
def segmenter_path(call: Run, cube_path: Path, labels_path: Path, tmp_path: Path) -> Path:
    """Segmenter fitted to the cube and its labels by `carl fit`, without a network."""
    path = tmp_path / "two.carl"
    pair = ("--pair", cube_path, labels_path)
    assert call("fit", *pair, "-o", path, "--model", "none", "--classes", "left,right")[0] == 0
    return path
