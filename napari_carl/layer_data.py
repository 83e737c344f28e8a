"""How a cube looks as layers of napari: plain tuples of data and arguments, made without napari.

What other modules may rely on, under the key "carl" of a layer's metadata:

* the band stack, an Image layer: ``{"cube": SpectralCube}``;
* its colour picture, an Image layer on top: ``{"picture_of": SpectralCube}``;
* labels, a Labels layer: ``{"classes": tuple[LabelClass, ...]}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.io import sample_pixels
from carl.lazy_array import Block, LazyArray

LayerData = tuple[Any, dict[str, Any], str]

METADATA_KEY = "carl"

_LARGE = 1 << 20
"""Pixels, above which napari is handed a cube's layers at several resolutions. It reads and draws
what the screen can tell apart of them, in milliseconds, and never the whole."""
_COARSEST = 1 << 18
_PREVIEW_VALUES = 1 << 25
"""What is read of a cube for its first picture while the window waits."""
_CONTRAST_PERCENTILES = (0.5, 99.5)


def cube_layers(cube: SpectralCube) -> list[LayerData]:
    """The layers of a cube, the lower one first."""
    return [cube_layer(cube), colour_layer(cube)]


def cube_layer(cube: SpectralCube) -> LayerData:
    """The bands of a cube as an image with a slider, read one at a time.

    Returns:
        (bands, height, width) physical values, arguments of an Image layer, and "image".
    """
    arguments = {
        "name": cube.name,
        "rgb": False,  # three or four bands are bands, too
        "contrast_limits": _contrast_limits(cube),
        "colormap": "gray",
        "multiscale": is_large(cube),
        "metadata": {METADATA_KEY: {"cube": cube}},
    }
    return band_levels(cube) if is_large(cube) else band_stack(cube), arguments, "image"


def preview_layers(cube: SpectralCube) -> list[LayerData]:
    """The layers of a cube, made in a moment: the picture of a large one is coarse."""
    return [cube_layer(cube), colour_layer(cube, _PREVIEW_VALUES)]


def colour_layer(cube: SpectralCube, most_values: int | None = None) -> LayerData:
    """The picture of a cube in the colours of its tissue, or in false ones beyond visible light.

    Args:
        cube: any.
        most_values: about how many values may be read; of a larger cube every n-th pixel of every
            n-th row is shown, as large as n × n.

    Returns:
        (height, width, 3) uint8, arguments of an Image layer, and "image".
    """
    from carl.spectra.colour import is_visible, true_colour

    step = 1 if most_values is None else _step(cube, most_values)
    colours = "colour" if is_visible(cube) else "false colour"
    arguments = {
        "name": f"{cube.name} {colours}",
        "rgb": True,
        "multiscale": is_large(cube),
        "metadata": {METADATA_KEY: {"picture_of": cube}},
    }
    if step > 1:
        arguments |= {"scale": (step, step), "translate": (centre_of(step), centre_of(step))}
    return levelled(true_colour(every_nth_pixel(cube, step)), cube), arguments, "image"


def is_large(cube: SpectralCube) -> bool:
    """Whether a cube is shown at several resolutions."""
    return cube.shape[0] * cube.shape[1] > _LARGE


def levelled(pixels: NDArray[Any], cube: SpectralCube) -> Any:
    """A picture or a map of a cube as napari is to be given it.

    Args:
        pixels: (H, W) or (H, W, 3).
        cube: that they show.

    Returns:
        of a large cube views of the pixels, a list from fine to coarse; else the pixels.
    """
    return [pixels[::n, ::n] for n in _steps(pixels.shape[:2])] if is_large(cube) else pixels


def finest(data: Any) -> Any:
    """The pixels of what `levelled` made."""
    return data[0] if isinstance(data, Sequence) else data


def _steps(shape: tuple[int, ...]) -> list[int]:
    """Every how many pixels each level takes one."""
    n_halvings = ceil(log2(max(1.0, shape[0] * shape[1] / _COARSEST)) / 2)
    return [2**i for i in range(n_halvings + 1)]


def centre_of(step: int) -> float:
    """Where the centre of a coarse pixel lies, counted in fine ones of which it takes `step`."""
    return (step - 1) / 2


def preview_step(cube: SpectralCube) -> int:
    """Every how many pixels a picture that is made in a moment shows; 1 for small cubes."""
    return _step(cube, _PREVIEW_VALUES)


def _step(cube: SpectralCube, most_values: int) -> int:
    return max(1, ceil(sqrt(np.prod(cube.shape, dtype=float) / most_values)))


def every_nth_pixel(cube: SpectralCube, n: int) -> SpectralCube:
    """A cube of every n-th pixel of every n-th row."""
    return cube if n == 1 else replace(cube, data=np.asarray(cube.data[::n, ::n]))


def band_stack(cube: SpectralCube) -> Any:
    """The cube's values with the bands first, as napari slides along them: nothing is read.

    Returns:
        (bands, height, width): a view of the stored array where its numbers are the values, else a
        `BandStack`.
    """
    plain = np.all(np.asarray(cube.scale) == 1) and not np.any(cube.offset) and cube.nodata is None
    if plain and isinstance(cube.data, np.ndarray):
        return np.moveaxis(cube.data, -1, 0)
    return BandStack(cube)


def band_levels(cube: SpectralCube) -> list[Any]:
    """The same from fine to coarse: nothing is read here either."""
    steps, stack = _steps(cube.shape[:2]), band_stack(cube)
    if isinstance(stack, BandStack):
        return [BandStack(cube, n) for n in steps]
    return [stack[:, ::n, ::n] for n in steps]


class BandStack(LazyArray):
    """A cube as a (bands, height, width) array of float32 physical values, read when indexed.

    Args:
        cube: any.
        step: every `step`-th pixel is taken along height and width.
    """

    def __init__(self, cube: SpectralCube, step: int = 1) -> None:
        height, width, bands = cube.shape
        super().__init__((bands, ceil(height / step), ceil(width / step)), np.float32)
        self._cube = cube
        self._step = step

    def _read_block(self, block: Block) -> NDArray[np.float32]:
        bands, *spans = block
        rows, columns = (
            slice(self._step * span.start, self._step * (span.stop - 1) + 1, self._step * span.step)
            for span in spans
        )
        return np.moveaxis(self._cube.read(rows, columns, bands), -1, 0)


def _contrast_limits(cube: SpectralCube) -> tuple[float, float]:
    """From dark to bright over all bands, without the outermost values."""
    values = sample_pixels(cube)[:, cube.good_bands]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, _CONTRAST_PERCENTILES)
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)
