"""Segment a cube: fit a predictor to strokes or load one, and predict the visible windows first.

The functions run as background jobs. They yield the same result repeatedly while its label map is
filled in place, window by window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import ModelError
from carl.progress import Progress, subprogress
from napari_carl.annotation import AnnotationState, LoadedModel
from napari_carl.feature_jobs import preview_stride
from napari_carl.torch_loading import load_torch

if TYPE_CHECKING:
    from carl.io import LabelClass
    from carl.learning import BoundPredictor, CubeFeatures, Predictor, Refinement
    from carl.learning.features import Region

LabelImage = NDArray[np.unsignedinteger[Any]]
"""(H, W) label of every pixel, 0 = unlabelled."""

_N_URGENT = 2
"""Number of windows that are shown as soon as they are predicted: the coarse map and the view."""
_DISPLAY_INTERVAL = 0.15
"""Shortest time between two updates of the displayed label map after that, seconds. Drawing it
takes 0.05 s of the GUI thread."""


@dataclass(frozen=True)
class Viewport:
    """Part of a cube that is visible on the screen.

    Attributes:
        rows: first row of pixels, and the one after the last.
        columns: first column of pixels, and the one after the last.
        step: pixels of the cube per pixel of the screen along each axis, at least 1.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    step: int = 1

    @property
    def region(self) -> Region:
        """The visible pixels at the resolution of the screen."""
        return slice(*self.rows, self.step), slice(*self.columns, self.step)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the centre."""
        return sum(self.rows) / 2, sum(self.columns) / 2


ViewportGetter = Callable[[], Viewport | None]
"""Returns the current viewport; None if no part of the cube is visible."""


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """A predictor and its label map of the current cube.

    Attributes:
        predictor: fitted to the strokes, or loaded from a file.
        bound: the predictor bound to the cube; to a reduced cube for a preview.
        labels: (H, W) label map, filled in window by window.
        accuracy: accuracy on held-out strokes in words; empty for a loaded predictor.
        seconds: from the start of the job to the first labels.
        is_preview: whether only a reduced cube was segmented, so that the label map is coarse.
        origin: description of a loaded predictor; empty for one fitted to the strokes.
        fidelity: `Embedding.fidelity` of an approximate embedding; None for an exact one.
        refinement: of a loaded model on the cube, for the next correction.
        complete: set when all labels are predicted.
    """

    predictor: Predictor
    bound: BoundPredictor
    labels: LabelImage
    accuracy: str = ""
    seconds: float = 0.0
    is_preview: bool = False
    origin: str = ""
    fidelity: float | None = None
    refinement: Refinement | None = None
    complete: Event = field(default_factory=Event)


def segment_preview(
    features: CubeFeatures, strokes: LabelImage, classes: Sequence[LabelClass], progress: Progress
) -> Iterator[SegmentationResult]:
    """Predict a coarse label map from the features of a reduced cube.

    Nothing is yielded where the strokes are too fine to label two classes on the reduced cube.

    Args:
        features: of the reduced cube.
        strokes: (H, W) on the cube itself, 0 = unlabelled.
        classes: names and colours.
        progress: called often; cancels by raising.
    """
    from carl.learning import Segmenter

    start = perf_counter()
    n = ceil(strokes.shape[0] / features.cube.shape[0])
    reduced = _reduced_strokes(strokes, n)
    if np.unique(reduced[reduced > 0]).size < 2:
        return
    segmenter = Segmenter(classes=classes).fit(features, reduced, progress=progress)
    bound = segmenter.bind(features)
    coarse = bound.predict_window((slice(None), slice(None)), progress).labels
    labels = np.zeros(strokes.shape, coarse.dtype)
    _write_labels(labels, (slice(None, None, n), slice(None, None, n)), coarse)
    accuracy = segmenter.report.accuracy_text
    result = SegmentationResult(
        segmenter, bound, labels, accuracy, perf_counter() - start, is_preview=True
    )
    result.complete.set()
    yield result


def segment(
    features: CubeFeatures,
    strokes: LabelImage,
    classes: Sequence[LabelClass],
    before: LabelImage | None,
    viewport: ViewportGetter,
    progress: Progress,
) -> Iterator[SegmentationResult]:
    """Fit a segmenter to the strokes and predict the label map, what is visible first.

    Args:
        features: of the cube.
        strokes: (H, W), 0 = unlabelled.
        classes: names and colours.
        before: (H, W) label map displayed so far; it stays where nothing newer is predicted.
        viewport: called before every window, because the view may move.
        progress: called often; cancels by raising.

    Yields:
        the same result repeatedly, with more of its labels predicted.
    """
    from carl.learning import Segmenter

    start = perf_counter()
    segmenter = Segmenter(classes=classes)
    segmenter.fit(features, strokes, progress=subprogress(progress, 0.0, 0.6))
    accuracy = segmenter.report.accuracy_text
    bound = segmenter.bind(features)
    windows = _predict_windows(
        bound, strokes.shape, before is None, viewport, subprogress(progress, 0.6, 1.0)
    )

    embedding = features.embedding
    fidelity = None
    if embedding is not None and embedding.speed == "turbo":
        fidelity = embedding.fidelity

    def result(labels: LabelImage) -> SegmentationResult:
        return SegmentationResult(
            segmenter, bound, labels, accuracy, perf_counter() - start, fidelity=fidelity
        )

    yield from _assemble(windows, strokes.shape, before, result)


def load_model(path: Path, device: str, progress: Progress) -> LoadedModel:
    """Load a predictor from a file.

    Raises:
        ModelError: the file cannot be read, or its predictor classifies whole images.
    """
    load_torch(progress)
    progress(0.0, f"Loading {path.name}")
    from carl.learning import load_predictor

    predictor = load_predictor(path, device)
    if predictor.output != "label map":
        classes = ", ".join(each.name for each in predictor.classes)
        raise ModelError(
            f"{path.name} classifies whole images ({classes}) and predicts no label map: use it "
            "with 'carl predict', or load a model for segmentation."
        )
    return LoadedModel(path, predictor)


def segment_with_model(
    cube: SpectralCube,
    state: AnnotationState,
    refinement: Refinement | None,
    before: LabelImage | None,
    viewport: ViewportGetter,
    progress: Progress,
) -> Iterator[SegmentationResult]:
    """Predict the label map with a loaded model corrected by the strokes, what is visible first.

    Args:
        cube: the cube.
        state: its annotation, with a model.
        refinement: of the model on this cube; None if none was prepared yet.
        before: (H, W) label map displayed so far; it stays where nothing newer is predicted.
        viewport: called before every window, because the view may move.
        progress: called often; cancels by raising.

    Yields:
        the same result repeatedly, with more of its labels predicted.
    """
    model = state.model
    assert model is not None
    start = perf_counter()
    predictor, given = model.predictor, cube if refinement is None else refinement.features
    if state.has_strokes:
        if refinement is None:
            bound = predictor.bind(cube, precompute=True, progress=subprogress(progress, 0.0, 0.4))
            refinement = bound.prepare_refinement(subprogress(progress, 0.4, 0.6))
        predictor = refinement.fit(state.strokes, classes=state.classes)
        given = refinement.features
    bound = predictor.bind(given, precompute=True, progress=subprogress(progress, 0.1, 0.6))
    windows = _predict_windows(
        bound, cube.shape[:2], before is None, viewport, subprogress(progress, 0.6, 1.0)
    )

    def result(labels: LabelImage) -> SegmentationResult:
        return SegmentationResult(
            predictor,
            bound,
            labels,
            seconds=perf_counter() - start,
            origin=predictor.description,
            refinement=refinement,
        )

    yield from _assemble(windows, cube.shape[:2], before, result)


def _assemble(
    windows: Iterator[tuple[Region, LabelImage]],
    shape: tuple[int, ...],
    before: LabelImage | None,
    make_result: Callable[[LabelImage], SegmentationResult],
) -> Iterator[SegmentationResult]:
    """Fill the label map of one result window by window, and yield it to be displayed."""
    labels = result = None
    last_display = 0.0
    for done, (region, of_window) in enumerate(windows):
        if labels is None or result is None:
            labels = np.zeros(shape, of_window.dtype)
            if before is not None:
                labels[:] = before
            result = make_result(labels)
        _write_labels(labels, region, of_window)
        if done < _N_URGENT or perf_counter() - last_display > _DISPLAY_INTERVAL:
            last_display = perf_counter()
            yield result
    if result is not None:
        result.complete.set()
        yield result


def _predict_windows(
    bound: BoundPredictor,
    shape: tuple[int, ...],
    is_first: bool,
    viewport: ViewportGetter,
    progress: Progress,
) -> Iterator[tuple[Region, LabelImage]]:
    """Predict windows that cover the cube, the urgent ones first."""
    n_windows = _N_URGENT + len(bound.windows)
    for done, region in enumerate(_windows_in_order(bound, shape, is_first, viewport)):
        window_progress = subprogress(progress, done / n_windows, (done + 1) / n_windows)
        window_progress(0.0, "Segmenting")
        yield region, bound.predict_window(region, window_progress).labels


def _windows_in_order(
    bound: BoundPredictor, shape: tuple[int, ...], is_first: bool, viewport: ViewportGetter
) -> Iterator[Region]:
    """Yield windows that cover the cube, the urgent ones first.

    Where features are precomputed, subsampled windows are fast: a first label map starts with the
    whole cube at low resolution, and the visible part at the resolution of the screen is next. All
    windows of the bound predictor follow, each time the one nearest to the current view.
    """
    if bound.is_precomputed:
        n = preview_stride(shape)
        if is_first and n > 1:
            yield slice(None, None, n), slice(None, None, n)
        view = viewport()
        if view is not None:
            yield view.region
    remaining = list(bound.windows)
    while remaining:
        view = viewport()
        nearest = min(remaining, key=lambda window: _distance(window, view))
        remaining.remove(nearest)
        yield nearest


def _distance(window: Region, view: Viewport | None) -> float:
    """Return the squared distance in pixels from a window to the centre of the view."""
    if view is None:
        return 0.0
    offsets = (
        max(span.start - centre, centre - span.stop, 0.0)
        for span, centre in zip(window, view.centre, strict=True)
    )
    return float(sum(offset**2 for offset in offsets))


def _write_labels(labels: LabelImage, region: Region, of_window: LabelImage) -> None:
    """Write the labels of a window; those of every n-th pixel fill n × n pixels."""
    rows, columns = region
    if rows.step and rows.step > 1:
        of_window = of_window.repeat(rows.step, axis=0).repeat(columns.step, axis=1)
    target = labels[rows.start : rows.stop, columns.start : columns.stop]
    target[:] = of_window[: target.shape[0], : target.shape[1]]


def _reduced_strokes(strokes: LabelImage, n: int) -> LabelImage:
    """Reduce strokes to every n-th pixel: the highest label of each n × n block."""
    height, width = strokes.shape
    padded = np.pad(strokes, ((0, -height % n), (0, -width % n)))
    blocks = padded.reshape(padded.shape[0] // n, n, padded.shape[1] // n, n)
    reduced: LabelImage = blocks.max(axis=(1, 3))
    return reduced
