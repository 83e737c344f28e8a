"""A session without a window, whose background jobs run on request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from carl.progress import no_progress
from napari_carl import feature_jobs, segmentation
from napari_carl.feature_jobs import EmbeddedCube
from napari_carl.jobs import JobKind
from napari_carl.segmentation import SegmentationResult
from napari_carl.session import Session


@dataclass
class Job:
    """A job that was passed to the runner."""

    kind: JobKind
    run: Callable[..., Any]
    arrived: Callable[[Any], None]
    finished: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    progressed: Callable[[float, str], None]
    cancelled: bool = False

    def go(self) -> None:
        """Run to the end and deliver, as a thread would, even if it was cancelled too late."""
        try:
            result = self.run(self.progressed, self.arrived)
        except Exception as error:
            self.failed(error)
        else:
            self.finished(result)


@dataclass
class HeldRunner:
    """Holds the jobs passed to it; the test runs them in any order."""

    jobs: list[Job] = field(default_factory=list)

    def start(self, kind: JobKind, run: Callable[..., Any], **callbacks: Any) -> None:
        self.jobs.append(Job(kind, run, **callbacks))

    def cancel(self, kind: JobKind) -> None:
        for job in self.jobs:
            if job.kind == kind:
                job.cancelled = True

    def of(self, kind: JobKind) -> list[Job]:
        return [job for job in self.jobs if job.kind == kind]

    def go(self, kind: JobKind) -> None:
        """Run the newest job of a kind."""
        self.of(kind)[-1].go()

    def go_all(self) -> None:
        """Run all jobs that were not cancelled, and those they start."""
        while self.jobs:
            job = self.jobs.pop(0)
            if job.cancelled:
                job.failed(Cancelled("Cancelled."))
            else:
                job.go()


@dataclass
class FakeFeatures:
    """Stands in for `CubeFeatures`."""

    cube: SpectralCube
    model: Any = None
    embedding: Any = None


@dataclass
class FakePredictor:
    """Stands in for a predictor whose label map of any cube is constant."""

    classes: tuple = ()
    model: Any = None
    value: int = 1
    output = "label map"
    description = "constant"

    @property
    def uses_network(self) -> bool:
        return self.model is not None

    def bind(self, cube, *, progress=no_progress):
        cube.require_wavelengths()
        return FakeBound(cube, self.value)


@dataclass
class FakeBound:
    """Stands in for a predictor bound to a cube; counts the predicted windows."""

    cube: SpectralCube
    value: int = 1
    n_predicted: int = 0

    @property
    def windows(self):
        height, width, _ = self.cube.shape
        return [
            (slice(0, height // 2), slice(0, width)),
            (slice(height // 2, height), slice(0, width)),
        ]

    def predict_window(self, region, progress=no_progress):
        progress(0.5, "Predicting")
        self.n_predicted += 1
        return SimpleNamespace(labels=np.full(self.cube.shape[:2], self.value, np.uint8)[region])


@pytest.fixture
def fakes() -> SimpleNamespace:
    """The classes that stand in for features, predictors and bound predictors."""
    return SimpleNamespace(Features=FakeFeatures, Predictor=FakePredictor, Bound=FakeBound)


@pytest.fixture
def runner() -> HeldRunner:
    return HeldRunner()


@pytest.fixture
def session(runner: HeldRunner, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose features and segmentations are stand-ins."""

    def precompute(cube, progress):
        yield FakeFeatures(cube)

    def embed_cube(features, network, device, progress):
        progress(0.5, "Spectral features")
        model = network.model or SimpleNamespace(name=network.name)
        embedding = SimpleNamespace(speed="exact")
        embedded = replace(features, model=model, embedding=embedding)
        yield EmbeddedCube(
            replace(network, model=model, device="CPU"), embedding, features=embedded
        )

    def segment(features, strokes, classes, before, viewport, progress):
        progress(0.5, "Segmenting")
        labels = np.where(strokes, strokes, strokes.max())
        predictor = FakePredictor(classes, features.model)
        result = SegmentationResult(predictor, FakeBound(features.cube), labels, "90 % right")
        result.complete.set()
        yield result

    monkeypatch.setattr(feature_jobs, "precompute", precompute)
    monkeypatch.setattr(feature_jobs, "embed_cube", embed_cube)
    monkeypatch.setattr(segmentation, "segment", segment)
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
    """The plugin alone, registered with napari without a window."""
    npe2pm.register(PluginManifest.from_file(Path(napari_carl.__file__).parent / "napari.yaml"))
