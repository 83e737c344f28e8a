"""Maps from strokes, drawn so that something is seen at once and what is looked at comes first.

Jobs of a session as plain generators: arrays and a `progress` in, a map out that gets sharper. The
labels of a map are filled in place; each time it is handed out, more of it is as it will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil, isfinite, sqrt
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import ModelError
from carl.progress import Progress, subprogress
from napari_carl.layer_data import every_nth_pixel
from napari_carl.torch_loading import load_torch

if TYPE_CHECKING:
    from carl.io import LabelClass
    from carl.learning import Segmenter
    from carl.learning.head_training import TrainedHead
    from napari_carl.computations import Features

    Trained = Segmenter | TrainedHead

T = TypeVar("T", bound=tuple[Any, ...])

Labels = NDArray[np.unsignedinteger[Any]]
Region = tuple[slice, slice]

_COARSE_PIXELS = 1 << 17
_TILE = 512
_N_URGENT = 2
_SECONDS_BETWEEN_PIECES = 0.15
"""The window draws a map in 0.05 s: often enough to see it grow, and time left for the hand."""


@dataclass(frozen=True)
class Viewport:
    """What of a cube is seen on the screen.

    Attributes:
        rows: first row of pixels, and the one after the last.
        columns: first column of pixels, and the one after the last.
        step: pixels of the cube along a side of one of the screen, at least 1.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    step: int = 1

    @property
    def region(self) -> Region:
        """As many pixels of the cube as the screen can tell apart."""
        return slice(*self.rows, self.step), slice(*self.columns, self.step)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column in the middle."""
        return sum(self.rows) / 2, sum(self.columns) / 2


ViewportGetter = Callable[[], Viewport | None]
"""Tells what is seen at the moment; None if nothing of the cube is."""


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """A segmenter and its map.

    Attributes:
        segmenter: fitted on the strokes, or loaded from a file, which may hold a trained head.
        labels: (H, W) its map of the current cube, as far as it has been drawn.
        accuracy: share of the painted pixels it gets right when they are left out of the fit; None
            for one from a file.
        has_network: whether the network's features take part.
        seconds: from strokes to what is seen of the map.
        is_preview: whether it knows a reduced cube only, and the map is coarse.
        origin: where it comes from if not from the strokes, in a few words.
        fidelity: of the network's features where they are approximate, as `Embedding.fidelity`.
        drawn: set once all labels are there.
    """

    segmenter: Trained
    labels: Labels
    accuracy: float | None
    has_network: bool
    seconds: float
    is_preview: bool = False
    origin: str = ""
    fidelity: float | None = None
    drawn: Event = field(default_factory=Event)


def coarseness(shape: tuple[int, ...]) -> int:
    """Every how many pixels a coarse map takes one, along each axis; 1 for small cubes."""
    return max(1, ceil(sqrt(shape[0] * shape[1] / _COARSE_PIXELS)))


def look(cube: SpectralCube, progress: Progress) -> Iterator[SpectralCube]:
    """Compute what a map needs apart from the network.

    Yields:
        the cubes that have been looked at: a reduced one of a large cube first, to preview maps on,
        then the cube itself.
    """
    load_torch(progress)
    from carl.learning.segmenter import prepare

    if (n := coarseness(cube.shape)) > 1:
        small = every_nth_pixel(cube, n)
        small = replace(small, data=np.array(small.data))  # in memory: it is read several times
        prepare(small, None, progress=subprogress(progress, 0.0, 0.1))
        yield small
    prepare(cube, None, progress=subprogress(progress, 0.1, 1.0))
    yield cube


def preview(
    small: SpectralCube,
    strokes: Labels,
    classes: Sequence[LabelClass],
    progress: Progress,
) -> Iterator[SegmentationResult]:
    """A coarse map, there before the cube itself has been looked at.

    Nothing comes where the strokes are too fine to be seen on the reduced cube.

    Args:
        small: the reduced cube.
        strokes: (H, W) on the cube itself.
        classes: names and colours.
        progress: told often; cancels by raising.
    """
    from carl.learning import Segmenter

    start = perf_counter()
    n = ceil(strokes.shape[0] / small.shape[0])
    painted = _reduced_strokes(strokes, n)
    if np.unique(painted[painted > 0]).size < 2:
        return
    segmenter = Segmenter(None, classes=classes).fit(small, painted, progress=progress)
    coarse = segmenter.predict(small, progress=progress).labels
    labels = np.zeros(strokes.shape, coarse.dtype)
    _put(labels, (slice(None, None, n), slice(None, None, n)), coarse)
    yield SegmentationResult(
        segmenter, labels, _accuracy(segmenter), False, perf_counter() - start, is_preview=True
    )


def learn(
    cube: SpectralCube,
    strokes: Labels,
    features: Features | None,
    classes: Sequence[LabelClass],
    before: Labels | None,
    viewport: ViewportGetter,
    progress: Progress,
) -> Iterator[SegmentationResult]:
    """Fit a segmenter on the strokes and map the cube with it, what is seen of it first.

    Args:
        cube: with known wavelengths.
        strokes: (H, W), 0 = unlabelled.
        features: of the network, which take part, or None.
        classes: names and colours.
        before: (H, W) the map that is shown until now; it stays where nothing newer is drawn.
        viewport: asked before every piece, so that the view may move meanwhile.
        progress: told often; cancels by raising.

    Yields:
        the same map again and again, with more of it drawn.
    """
    load_torch(progress)
    from carl.learning import Segmenter

    start = perf_counter()
    model, speed, fidelity = None, "exact", None
    if features is not None:
        model, speed = features.model, features.speed
        fidelity = features.embedding.fidelity if features.is_approximate else None
    segmenter = Segmenter(model, classes=classes, speed=speed)
    segmenter.fit(cube, strokes, progress=subprogress(progress, 0.0, 0.6))
    accuracy = _accuracy(segmenter)
    pieces = _pieces(segmenter, cube, before is None, viewport, subprogress(progress, 0.6, 1.0))

    def learned(labels: Labels) -> SegmentationResult:
        seconds = perf_counter() - start
        has_network = features is not None
        return SegmentationResult(
            segmenter, labels, accuracy, has_network, seconds, fidelity=fidelity
        )

    yield from _draw(pieces, cube.shape[:2], before, learned)


def segment_with_file(
    path: Path, cube: SpectralCube, device: str, viewport: ViewportGetter, progress: Progress
) -> Iterator[SegmentationResult]:
    """Map the cube with a segmenter or a trained head from a file, what is seen of it first.

    Yields:
        the same map again and again, with more of it drawn.

    Raises:
        ModelError: the file holds neither, or a head that draws no maps.
    """
    load_torch(progress)
    progress(0.0, f"Loading {path.name}")
    from carl.learning.head_training import TrainedHead, load_predictor

    start = perf_counter()
    trained = load_predictor(path, device)
    drawing = subprogress(progress, 0.2, 1.0)
    if isinstance(trained, TrainedHead):
        pieces = _pieces_of_head(trained, path, cube, viewport, drawing)
        has_network, origin = True, _describe_head(trained)
    else:
        pieces = _pieces(trained, cube, True, viewport, drawing)
        has_network, origin = trained.model is not None, "saved model"

    def learned(labels: Labels) -> SegmentationResult:
        seconds = perf_counter() - start
        return SegmentationResult(trained, labels, None, has_network, seconds, origin=origin)

    yield from _draw(pieces, cube.shape[:2], None, learned)


def _draw(
    pieces: Iterable[tuple[Region, Labels]],
    shape: tuple[int, int],
    before: Labels | None,
    learned_of: Callable[[Labels], SegmentationResult],
) -> Iterator[SegmentationResult]:
    """One map that grows piece by piece; it is what `learned_of` makes of its labels."""
    labels = learned = None
    handed_out = 0.0
    for done, (region, piece) in enumerate(pieces):
        if labels is None or learned is None:
            labels = np.zeros(shape, piece.dtype)
            if before is not None:
                labels[:] = before
            learned = learned_of(labels)
        _put(labels, region, piece)
        if done < _N_URGENT or perf_counter() - handed_out > _SECONDS_BETWEEN_PIECES:
            handed_out = perf_counter()
            yield learned
    if learned is not None:
        learned.drawn.set()
        yield learned


def _pieces(
    segmenter: Segmenter,
    cube: SpectralCube,
    is_first: bool,
    viewport: ViewportGetter,
    progress: Progress,
) -> Iterator[tuple[Region, Labels]]:
    """Each region and its labels; a region is asked for when the one before has been used."""
    n_pieces = 2 + len(_tiles(cube.shape[:2]))
    asked: list[Region] = []

    def ask() -> Iterator[Region]:
        for region in _in_order(cube.shape[:2], is_first, viewport):
            asked.append(region)
            yield region

    for done, prediction in enumerate(segmenter.draw(cube, ask(), progress=progress), start=1):
        yield asked.pop(), prediction.labels
        progress(min(done / n_pieces, 1.0), "Drawing the map")


def _pieces_of_head(
    trained: TrainedHead,
    path: Path,
    cube: SpectralCube,
    viewport: ViewportGetter,
    progress: Progress,
) -> Iterator[tuple[Region, Labels]]:
    """The same of a trained head, in the tiles it looks at.

    Raises:
        ModelError: the head draws no maps.
    """
    if trained.classifies:
        raise ModelError(
            f"{path.name} tells the class of whole images "
            f"({', '.join(each.name for each in trained.classes)}) and draws no map: use it with "
            "'carl predict', or load a model for segmentation."
        )
    in_sight_first = partial(_nearest_first, viewport=viewport)
    for region, prediction in trained.draw(cube, in_sight_first, progress=progress):
        yield region, prediction.labels


def _describe_head(trained: TrainedHead) -> str:
    """What a head is, and how well it did when it was trained."""
    miou = trained.training.get("scores", {}).get("miou")
    return trained.config.name + ("" if miou is None else f", held-out mIoU {miou:.2f}")


def _in_order(shape: tuple[int, int], is_first: bool, viewport: ViewportGetter) -> Iterator[Region]:
    """Regions that make up a map, the urgent ones first.

    A first map begins with all of it, coarse. Then comes what is seen, as finely as the screen can
    show it, then all pixels in tiles, each time the one nearest to what is seen at that moment.
    """
    n = coarseness(shape)
    if is_first and n > 1:
        yield slice(None, None, n), slice(None, None, n)
    seen = viewport()
    if seen is not None:
        yield seen.region
    yield from _nearest_first(_tiles(shape), viewport)


def _nearest_first(tiles: Sequence[T], viewport: ViewportGetter) -> Iterator[T]:
    """Tiles, which begin with their rows and columns, by their distance from what is seen."""
    left = list(tiles)
    while left:
        seen = viewport()
        nearest = min(range(len(left)), key=lambda index: _distance(left[index][:2], seen))
        yield left.pop(nearest)


def _tiles(shape: tuple[int, int]) -> list[Region]:
    height, width = shape
    return [
        (slice(top, min(top + _TILE, height)), slice(left, min(left + _TILE, width)))
        for top in range(0, height, _TILE)
        for left in range(0, width, _TILE)
    ]


def _distance(tile: Region, seen: Viewport | None) -> float:
    """From a tile to the middle of what is seen, squared, in pixels."""
    if seen is None:
        return 0.0
    middle = ((span.start + span.stop) / 2 for span in tile)
    return sum((here - there) ** 2 for here, there in zip(middle, seen.centre, strict=True))


def _put(labels: Labels, region: Region, piece: Labels) -> None:
    """Write labels of a region where they belong; those of every n-th pixel stand for all n × n."""
    rows, columns = region
    if rows.step and rows.step > 1:
        piece = piece.repeat(rows.step, axis=0).repeat(columns.step, axis=1)
    target = labels[rows.start : rows.stop, columns.start : columns.stop]
    target[:] = piece[: target.shape[0], : target.shape[1]]


def _reduced_strokes(strokes: Labels, n: int) -> Labels:
    """Strokes on every n-th pixel: the highest label of the n × n that it stands for."""
    height, width = strokes.shape
    padded = np.pad(strokes, ((0, -height % n), (0, -width % n)))
    blocks = padded.reshape(padded.shape[0] // n, n, padded.shape[1] // n, n)
    return blocks.max(axis=(1, 3))


def _accuracy(segmenter: Segmenter) -> float | None:
    accuracy = float(segmenter.report["left_out_accuracy"])
    return accuracy if isfinite(accuracy) else None
