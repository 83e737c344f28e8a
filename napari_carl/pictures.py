"""Open a cube, and compute its pictures and spectra: functions that background jobs run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array, Float64Array
from carl.cube import SpectralCube
from carl.io import read_cube
from carl.progress import Progress
from carl.spectra.colour import (
    band_composite,
    covers_visible,
    evenly_spaced_bands,
    nearest_band,
    true_colour,
)
from carl.spectra.normalise import check_pixels
from napari_carl.layer_data import cube_layer, every_nth_pixel, is_large, preview_step

if TYPE_CHECKING:
    from carl.inference import Embedding
    from carl.spectra.normalise import check_pixels
from napari_carl.layer_data import LayerData

_RED, _GREEN, _BLUE = 630.0, 540.0, 460.0
"""Wavelengths in nm of the default three bands, near the dominant wavelengths of the primaries of
sRGB, 612, 549 and 464 nm."""


class DisplayMode(StrEnum):
    """How a cube is displayed."""

    TRUE_COLOUR = "true colour"
    THREE_BANDS = "three bands"
    SINGLE_BAND = "single band"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class Picture:
    """An RGB picture of a cube.

    Attributes:
        name: what it shows, e.g. "True colour".
        pixels: (h, w, 3) uint8.
        step: side of a pixel of the picture in pixels of the cube; above 1 for a preview.
    """

    name: str
    pixels: NDArray[np.uint8]
    step: int = 1


@dataclass(frozen=True)
class ClassSpectrum:
    """Mean and standard deviation, each (C,), of the spectra under the strokes of one class."""

    mean: Float32Array
    deviation: Float32Array


def open_cube(path: Path, progress: Progress, **arguments: Any) -> LayerData:
    """Read a cube from a file and return the layer that shows its bands.

    Args:
        path: file or folder.
        progress: called with what is done.
        arguments: of `carl.read_cube`.
    """
    progress(0.0, f"Opening {path.name}")
    cube = read_cube(path, **arguments)
    check_pixels(cube)
    data, arguments, kind = cube_layer(cube)
    if is_large(cube):
        for coarser in data[1:]:  # read here, so that the file is cached when the window needs it
            np.array(coarser[0])
    return data, arguments, kind


def default_bands(cube: SpectralCube) -> tuple[int, int, int]:
    """Return the bands to display first as red, green and blue."""
    if not covers_visible(cube):
        return evenly_spaced_bands(cube)
    return nearest_band(cube, _RED), nearest_band(cube, _GREEN), nearest_band(cube, _BLUE)


def picture_true_colour(cube: SpectralCube, progress: Progress) -> Iterator[Picture]:
    """Compute the colours of the cube as seen by eye; three spread bands outside visible light.

    Yields:
        a preview of a large cube, then the whole picture.
    """
    name = "True colour" if covers_visible(cube) else "Colour"
    if (step := preview_step(cube)) > 1:
        yield Picture(name, true_colour(every_nth_pixel(cube, step)), step)
    yield Picture(name, true_colour(cube, progress))


def picture_bands(
    cube: SpectralCube, bands: Sequence[int], progress: Progress
) -> Iterator[Picture]:
    """Compute a picture of three bands of the cube as red, green and blue."""
    yield Picture("Three bands", band_composite(cube, bands, progress))


def picture_embedding(embedding: Embedding, step: int, progress: Progress) -> Iterator[Picture]:
    """Compute a picture of the first three principal components of an embedding.

    Args:
        embedding: of the cube, or of every `step`-th of its pixels.
        step: see `embedding`.
        progress: called before the computation; cancels by raising.
    """
    progress(0.0, "Principal components")
    pixels = np.round(255 * embedding.pca(3)).astype(np.uint8)
    yield Picture("Embedding (PCA)", pixels, step)


def class_spectra(
    cube: SpectralCube, strokes: NDArray[np.unsignedinteger[Any]], progress: Progress
) -> Mapping[int, ClassSpectrum]:
    """Compute mean and standard deviation of the spectra under the strokes, by class value.

    Only rows with strokes are read, one at a time. Missing values are left out.
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
    count: Float64Array, total: Float64Array, squares: Float64Array
) -> ClassSpectrum:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
    return ClassSpectrum(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))


def pixel_spectrum(cube: SpectralCube, row: int, column: int, progress: Progress) -> Float32Array:
    """Return the spectrum of one pixel, (C,)."""
    progress(0.0, "")
    return cube.spectrum(row, column)
