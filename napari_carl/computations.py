"""The long work of a session as plain functions: arrays and a `progress` in, dataclasses out.

They run in whatever thread calls them and touch no state of the session. What needs PyTorch is
imported inside, so that opening the dock does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.io import read_cube
from carl.progress import Progress, subprogress
from carl.spectra.colour import (
    band_composite,
    covers_visible,
    evenly_spaced_bands,
    nearest_band,
    true_colour,
)
from carl.spectra.normalise import check_pixels
from napari_carl.layer_data import cube_layer, every_nth_pixel, is_large, preview_step
from napari_carl.torch_loading import load_torch

if TYPE_CHECKING:
    from carl.inference import Embedding
    from carl.learning.finetune import FineTuneResult, StepReport
    from carl.model import CARL
    from napari_carl.layer_data import LayerData

Labels = NDArray[np.uint8]
Tune = Literal["head", "lora", "full"]

_PREVIEW_PATCHES = 512


@dataclass(frozen=True)
class Picture:
    """An RGB picture of a cube and what it shows.

    Attributes:
        name: what it shows, e.g. "True colour".
        pixels: (H, W, 3) uint8.
        step: pixels of the cube along a side of one of the picture; 1 but for coarse ones.
    """

    name: str
    pixels: NDArray[np.uint8]
    step: int = 1


@dataclass(frozen=True)
class Features:
    """A network on its device and what it says about one cube.

    Attributes:
        model: the network.
        device: it computes on, in words.
        embedding: of the cube.
        step: every how many pixels of the cube it was looked at, along each axis.
        speed: at which the embedding was asked for, as `carl.embed` takes it.
    """

    model: CARL
    device: str
    embedding: Embedding
    step: int = 1
    speed: str = "exact"

    @property
    def is_preview(self) -> bool:
        """Whether few of the pixels were looked at: good for a picture, not for a map."""
        return self.step > 1

    @property
    def is_approximate(self) -> bool:
        """Whether exact ones are still to come."""
        return self.embedding.speed == "turbo"


@dataclass(frozen=True)
class ClassSpectrum:
    """Mean and standard deviation of the spectra under the strokes of one class, each (C,)."""

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]


def open_cube(path: Path, progress: Progress) -> LayerData:
    """The layer of a cube in a file: its bands."""
    progress(0.0, f"Opening {path.name}")
    cube = read_cube(path)
    check_pixels(cube)
    data, arguments, kind = cube_layer(cube)
    if is_large(cube):
        for coarser in data[1:]:  # that the window finds them in memory, and need not wait for them
            np.array(coarser[0])
    return data, arguments, kind


def first_composition(cube: SpectralCube) -> tuple[int, int, int]:
    """The bands to begin with as red, green and blue: those of the eye where the cube has them."""
    if not covers_visible(cube):
        return evenly_spaced_bands(cube)
    return nearest_band(cube, 630.0), nearest_band(cube, 540.0), nearest_band(cube, 460.0)


def picture_true_colour(cube: SpectralCube, progress: Progress) -> Iterator[Picture]:
    """The cube as an eye would see it, or three spread bands where it cannot be said.

    Yields:
        a coarse picture of a large cube first, then the picture.
    """
    name = "True colour" if covers_visible(cube) else "Colour"
    if (step := preview_step(cube)) > 1:
        yield Picture(name, true_colour(every_nth_pixel(cube, step)), step)
    yield Picture(name, true_colour(cube, progress))


def picture_bands(
    cube: SpectralCube, bands: Sequence[int], progress: Progress
) -> Iterator[Picture]:
    """Three bands of the cube as red, green and blue."""
    yield Picture("Three bands", band_composite(cube, bands, progress))


def picture_embedding(features: Features, progress: Progress) -> Iterator[Picture]:
    """The first three principal components of an embedding as red, green and blue."""
    progress(0.0, "Principal components")
    pixels = np.round(255 * features.embedding.pca(3)).astype(np.uint8)
    yield Picture("Embedding (PCA)", pixels, features.step)


def compute_features(
    cube: SpectralCube, model: CARL | None, name: str, device: str, progress: Progress
) -> Iterator[Features]:
    """Load the network if it is not there yet, and embed the cube.

    Yields:
        of a large cube, what the network quickly makes of few of its pixels, for a first picture;
        then the features of the cube: in turbo, for a map in seconds, and exact.
    """
    load_torch(progress)
    progress(0.0, f"Loading {name}")
    from carl.inference import embed
    from carl.learning.segmenter import prepare
    from carl.model import device_label, load_model

    if model is None:
        model = load_model(name, device=device)
    label = device_label(next(model.parameters()).device)
    n = ceil(sqrt(cube.shape[0] * cube.shape[1] / (_PREVIEW_PATCHES * model.patch_size**2)))
    if n > 1:
        small = every_nth_pixel(cube, n)
        small = replace(small, data=np.array(small.data))  # in memory: it is read several times
        quick = embed(
            small,
            model,
            precision="float32",
            speed="turbo",
            progress=subprogress(progress, 0.0, 0.1),
        )
        yield Features(model, label, quick, step=n)
    for speed, share in (("turbo", (0.1, 0.2)), ("exact", (0.2, 1.0))):
        embedding = prepare(cube, model, speed=speed, progress=subprogress(progress, *share))
        assert embedding is not None  # there is a model
        features = Features(model, label, embedding, speed=speed)
        yield features
        if not features.is_approximate:
            break


def fine_tune(
    cube: SpectralCube,
    strokes: Labels,
    model: CARL,
    tune: Tune,
    on_step: Callable[[StepReport], None],
    progress: Progress,
) -> FineTuneResult:
    """Train the network on the strokes; it is kept only if held-out strokes are served better."""
    load_torch(progress)
    from carl.learning.finetune import finetune

    return finetune(model, [cube], [strokes], tune=tune, on_step=on_step, progress=progress)


def class_spectra(
    cube: SpectralCube, strokes: Labels, progress: Progress
) -> Mapping[int, ClassSpectrum]:
    """Mean and standard deviation of the spectra under each class's strokes, by class value.

    Only the rows that hold strokes are read, one after the other. Values without data are left out.
    """
    values = [int(value) for value in np.unique(strokes) if value]
    count = {value: np.zeros(cube.n_bands) for value in values}
    total = {value: np.zeros(cube.n_bands) for value in values}
    squares = {value: np.zeros(cube.n_bands) for value in values}
    rows = np.flatnonzero(strokes.any(axis=1))
    for done, row in enumerate(rows):
        progress(done / len(rows), "Spectra of the classes")
        spectra = cube.read(rows=slice(row, row + 1))[0].astype(np.float64)
        for value in np.unique(strokes[row]):
            if value:
                chosen = spectra[strokes[row] == value]
                known = np.isfinite(chosen)
                chosen = np.where(known, chosen, 0.0)
                count[int(value)] += known.sum(axis=0)
                total[int(value)] += chosen.sum(axis=0)
                squares[int(value)] += (chosen**2).sum(axis=0)
    return {
        value: _mean_and_deviation(count[value], total[value], squares[value]) for value in values
    }


def _mean_and_deviation(
    count: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]
) -> ClassSpectrum:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
    return ClassSpectrum(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))


def cursor_spectrum(
    cube: SpectralCube, row: int, column: int, progress: Progress
) -> NDArray[np.float32]:
    """The spectrum of one pixel."""
    progress(0.0, "")
    return cube.spectrum(row, column)
