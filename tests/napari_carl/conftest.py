"""A session without a window, whose jobs run when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from npe2._pytest_plugin import TestPluginManager

import napari_carl
from carl.cube import SpectralCube
from carl.errors import Cancelled
from napari_carl import computations, segmentation
from napari_carl.jobs import JobKind
from napari_carl.session import Session


@dataclass
class Job:
    """A job that was handed to the runner."""

    task: JobKind
    run: Callable[..., Any]
    arrived: Callable[[Any], None]
    finished: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    progressed: Callable[[float, str], None]
    cancelled: bool = False

    def go(self) -> None:
        """Run to the end, as a thread would, and deliver; even when it was cancelled too late."""
        try:
            result = self.run(self.progressed, self.arrived)
        except Exception as error:
            self.failed(error)
        else:
            self.finished(result)


@dataclass
class HeldRunner:
    """Keeps every job it is given; the test runs them, in any order."""

    jobs: list[Job] = field(default_factory=list)

    def start(self, task: JobKind, job: Callable[..., Any], **callbacks: Any) -> None:
        self.jobs.append(Job(task, job, **callbacks))

    def cancel(self, task: JobKind) -> None:
        for job in self.jobs:
            if job.task == task:
                job.cancelled = True

    def of(self, task: JobKind) -> list[Job]:
        return [job for job in self.jobs if job.task == task]

    def go(self, task: JobKind) -> None:
        """Run the newest job of a kind."""
        self.of(task)[-1].go()

    def go_all(self) -> None:
        """Run everything that was not cancelled, and what that starts."""
        while self.jobs:
            job = self.jobs.pop(0)
            if job.cancelled:
                job.failed(Cancelled("Called off."))
            else:
                job.go()


@pytest.fixture
def runner() -> HeldRunner:
    return HeldRunner()


@pytest.fixture
def session(runner: HeldRunner, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose network and segmenter are stand-ins that say what they were given."""

    def look(cube, progress):
        yield cube

    def compute_features(cube, model, name, device, progress):
        progress(0.5, "Spectral features")
        model = model or SimpleNamespace(name=name)
        yield computations.Features(model, "CPU", SimpleNamespace(cube=cube, speed="exact"))

    def learn(cube, strokes, features, classes, before, viewport, progress):
        progress(0.5, "Learning")
        labels = np.where(strokes, strokes, strokes.max())
        prediction = SimpleNamespace(labels=labels)
        model = None if features is None else features.model
        segmenter = SimpleNamespace(
            classes=classes, model=model, predict=lambda cube, progress: prediction
        )
        yield segmentation.SegmentationResult(segmenter, labels, 0.9, model is not None, 0.1)

    monkeypatch.setattr(segmentation, "look", look)
    monkeypatch.setattr(computations, "compute_features", compute_features)
    monkeypatch.setattr(segmentation, "learn", learn)
    return Session(runner)


@pytest.fixture
def make_cube() -> Callable[..., SpectralCube]:
    def make(name: str = "tissue", bands: int = 8, known: bool = True) -> SpectralCube:
        pixels = np.random.default_rng(0).random((12, 16, bands)).astype(np.float32)
        wavelengths = np.linspace(450, 650, bands) if known else None
        return SpectralCube(pixels, wavelengths, name=name)

    return make


@pytest.fixture
def strokes() -> np.ndarray:
    """Two strokes of two classes on a cube of `make_cube`."""
    labels = np.zeros((12, 16), np.uint8)
    labels[2, 2:8] = 1
    labels[8, 2:6] = 2
    return labels


@pytest.fixture
def plugin(npe2pm: TestPluginManager) -> None:
    """The plugin, and it alone, known to napari without a window."""
    npe2pm.register(PluginManifest.from_file(Path(napari_carl.__file__).parent / "napari.yaml"))
