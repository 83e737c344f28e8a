"""The path from a stroke to the displayed labels, followed by a tracer (docs/architecture.md).

A *stop* is a function in which control enters another module on its way from the stroke to the
displayed labels. Functions that a stop calls and that return to it are helpers; nested functions
belong to the function that defines them.
"""

from __future__ import annotations

import sys
import threading
from types import FrameType

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from carl.cube import SpectralCube
from napari_carl.jobs import JobKind
from napari_carl.layer_data import cube_layers
from napari_carl.layers import ViewerLayers
from napari_carl.session import Session
from napari_carl.strokes import StrokeTools
from napari_carl.thread_runner import ThreadRunner

STOPS = (
    ("napari_carl.annotation", "Annotation.publish"),
    ("napari_carl.session", "Session._on_strokes"),
    ("napari_carl.scheduling", "wanted_jobs"),
    ("napari_carl.jobs", "Jobs.stream"),
    ("napari_carl.thread_runner", "ThreadRunner.start"),
    ("napari_carl.segmentation", "segment"),
    ("carl.learning.segmenter", "Segmenter.fit"),
    ("carl.learning.segmenter", "BoundSegmenter.predict_window"),
    ("napari_carl.session", "Session._set_segmentation"),
    ("napari_carl.layers", "ViewerLayers._on_segmentation"),
)
"""The stops in order; the path has at most 10, and adding one needs a good reason."""

HELPERS = {
    ("napari_carl.strokes", "StrokeTools._on_painted"),  # napari's event starts the timer
    ("napari_carl.thread_runner", "ThreadRunner._work"),  # in the thread of the job
    ("napari_carl.thread_runner", "ThreadRunner._on_emitted"),  # on the GUI thread again
    ("napari_carl.thread_runner", "ThreadRunner._on_ended"),
    ("napari_carl.thread_runner", "ThreadRunner._on_reported"),
    ("napari_carl.strokes", "StrokeTools._on_drawn"),
    ("napari_carl.annotation", "Annotation.commit"),  # records the stroke for undo
    ("napari_carl.layers", "ViewerLayers._mark_map"),
    ("napari_carl.session", "Session.segmentation_is_outdated"),
    ("napari_carl.jobs", "Jobs.state"),
    ("napari_carl.classes", "ClassTable.include"),  # adds classes for new label values
    ("napari_carl.classes", "ClassTable.__iter__"),
    ("napari_carl.classes", "ClassTable.__len__"),
    ("napari_carl.jobs", "Jobs.cancel"),  # of jobs that are no longer wanted
    ("napari_carl.jobs", "Jobs.start"),  # of the spectra, a branch off the path
    ("napari_carl.jobs", "Jobs._start"),  # nested functions that deliver results and progress
    ("napari_carl.thread_runner", "ThreadRunner._progress_of"),
    ("napari_carl.session", "Session._on_job"),  # announces progress
    ("napari_carl.session", "Session._set_spectra"),
    ("napari_carl.session", "Session._start_segmenting"),  # binds the arguments of the job
    ("napari_carl.session", "Session._start_spectra"),
    ("napari_carl.session", "Session._get_viewport"),
    ("napari_carl.pictures", "class_spectra"),
    ("napari_carl.feature_jobs", "preview_stride"),
    ("napari_carl.layer_data", "finest"),
    ("carl.learning.segmenter", "Segmenter.__init__"),
    ("carl.learning.segmenter", "Segmenter.bind"),  # features are given: nothing is computed
    ("carl.learning.segmenter", "Segmenter.report"),
    ("carl.learning.segmenter", "FitReport.accuracy_text"),
    ("carl.learning.predictor", "Prediction.labels"),
    ("carl.progress", "subprogress"),
    ("carl.cube", "SpectralCube.read"),  # rows with strokes, for their spectra
    ("carl.cube", "SpectralCube.n_bands"),
}
"""Functions that are called from another module on the way and return to their caller."""

LIBRARY = {
    "carl.cube",
    "carl.inference.options",
    "carl.inference.upsampling",
    "carl.io.labels.label_map",
    "carl.learning.cube_features",
    "carl.learning.discriminant_mixture",
    "carl.learning.features",
    "carl.learning.kernel_mixture",
    "carl.learning.labelled_pixels",
    "carl.learning.predictor",
    "carl.learning.segmenter",
    "carl.mapped_files",
    "carl.progress",
}
"""Modules of the library that its stops use."""


class CallTracer:
    """Records calls between modules of the project, in all threads started meanwhile."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []  # caller's module, module, function
        self._generators: list[FrameType] = []  # a generator is resumed in the same frame

    def __enter__(self) -> CallTracer:
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, _: object) -> None:
        module, name = module_of(frame), frame.f_code.co_qualname
        if event != "call" or not is_ours(module) or name.startswith("__create_fn__"):
            return
        if any(frame is each for each in self._generators):
            return
        if frame.f_code.co_flags & 0x20:  # inspect.CO_GENERATOR
            self._generators.append(frame)
        caller = frame.f_back
        while caller is not None and not is_ours(module_of(caller)):
            caller = caller.f_back
        origin = "" if caller is None else module_of(caller)
        if origin != module:
            self.calls.append((origin, module, name.split(".<locals>")[0]))


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def is_ours(module: str) -> bool:
    return module.split(".")[0] in ("carl", "napari_carl")


@pytest.fixture
def runner(qtbot):
    made = ThreadRunner()
    yield made
    made.close()


def test_the_path_from_a_stroke_to_the_displayed_labels(runner, qtbot):
    random = np.random.default_rng(0)
    truth = np.repeat([1, 2], 30)[None].repeat(40, axis=0)
    spectra = np.array([np.linspace(0.2, 0.8, 6), np.linspace(0.8, 0.3, 6)])[truth - 1]
    pixels = spectra + 0.02 * random.standard_normal(spectra.shape)
    cube = SpectralCube(pixels.astype(np.float32), np.linspace(450, 650, 6))
    viewer, session = ViewerModel(), Session(runner)
    layers = ViewerLayers(viewer, session)
    tools = StrokeTools(layers, session)
    for data, arguments, kind in cube_layers(cube):
        viewer.add_layer(Layer.create(data, arguments, kind))
    qtbot.waitUntil(lambda: session.features is not None)
    session.jobs.cancel(JobKind.EMBEDDING)
    strokes = layers.require_strokes()

    def draw(row, columns, label):
        before = session.segmentation
        strokes.data_setitem((np.full(len(columns), row), np.array(columns)), label)
        qtbot.waitUntil(
            lambda: session.segmentation is not before and session.segmentation.complete.is_set()
        )

    strokes.data_setitem((np.full(10, 5), np.arange(10)), 1)
    draw(5, range(40, 50), 2)
    qtbot.wait_for_jobs(session, JobKind.SEGMENTING)
    with CallTracer() as tracer:
        draw(25, range(40, 50), 2)
        qtbot.wait_for_threads(JobKind.SEGMENTING, JobKind.SPECTRA)

    assert (layers.current.map.data == truth).mean() > 0.95
    calls = [call[1:] for call in tracer.calls if not call[0].startswith("carl.")]
    visited = [call for call in dict.fromkeys(calls) if call not in HELPERS]
    assert visited == list(STOPS)
    assert len(STOPS) <= 10
    assert len(set(STOPS)) == len(STOPS)
    within_library = {module for _, module, _ in tracer.calls if module.startswith("carl.")}
    assert within_library <= LIBRARY
    tools.close()
    layers.close()
