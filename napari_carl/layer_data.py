"""Layer data of cubes: tuples of data, arguments and layer type, made without napari.

Entries in the metadata of layers, under the key "carl", that other modules rely on:

* the bands of a cube, an Image layer: ``{"cube": SpectralCube}``, and once a dock shows it
  ``"annotation"``, its strokes and classes;
* its colour picture, an Image layer above: ``{"picture_of": SpectralCube}``; other layers of a cube
  likewise: ``"embedding_of"``, ``"map_of"``, ``"strokes_of"``;
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
from carl.io import LabelMap
from carl.lazy_array import Block, LazyArray
from carl.spectra.normalise import sample_pixels

LayerData = tuple[Any, dict[str, Any], str]

METADATA_KEY = "carl"

_LARGEST_SINGLE_SCALE = 1 << 20
"""Pixels of the largest cube displayed at one resolution. Larger cubes get a pyramid, of which
napari reads and draws only the visible part at the resolution of the screen, in milliseconds."""
_COARSEST = 1 << 18
"""Most pixels of the coarsest level of a pyramid."""
_PREVIEW_VALUES = 1 << 25
"""Most values read for a first picture while the window waits: about a second from a disk."""
_CONTRAST_PERCENTILES = (0.5, 99.5)


def cube_layers(cube: SpectralCube, *, preview: bool = False) -> list[LayerData]:
    """Return the layers of a cube, the lower one first.

    Args:
        cube: any.
        preview: make the colour picture of a large cube coarse, for a result within a second.
    """
    return [cube_layer(cube), colour_layer(cube, preview_step(cube) if preview else 1)]


def cube_layer(cube: SpectralCube) -> LayerData:
    """Return the bands of a cube as an image with a slider, read one at a time.

    Returns:
        (bands, height, width) physical values, arguments of an Image layer, and "image".
    """
    arguments = {
        "name": cube.name,
        "rgb": False,  # napari would take three or four bands for colours
        "axis_labels": ("band", "y", "x"),
        "contrast_limits": _contrast_limits(cube),
        "colormap": "gray",
        "multiscale": is_large(cube),
        "metadata": {METADATA_KEY: {"cube": cube}},
    }
    steps = _level_steps(cube.shape)
    data = [band_stack(cube, n) for n in steps] if is_large(cube) else band_stack(cube)
    return data, arguments, "image"


def colour_layer(cube: SpectralCube, step: int = 1) -> LayerData:
    """Return a colour picture of a cube: true colour, or false colour beyond visible light.

    Args:
        cube: any.
        step: every `step`-th pixel of every `step`-th row is displayed, at `step` times the size.

    Returns:
        (height, width, 3) uint8, arguments of an Image layer, and "image".
    """
    from carl.spectra.colour import covers_visible, true_colour

    colours = "colour" if covers_visible(cube) else "false colour"
    arguments = {
        "name": f"{cube.name} {colours}",
        "rgb": True,
        "axis_labels": ("y", "x"),
        "multiscale": is_large(cube),
        "metadata": {METADATA_KEY: {"picture_of": cube}},
    }
    if step > 1:
        arguments |= {"scale": (step, step), "translate": (centre_of(step), centre_of(step))}
    return pyramid(true_colour(every_nth_pixel(cube, step)), cube), arguments, "image"


def label_layer(name: str, label_map: LabelMap) -> LayerData:
    """Return a label map in the colours of its classes, whose names napari shows on hovering.

    Returns:
        (height, width) labels, arguments of a Labels layer, and "labels".
    """
    classes = label_map.classes
    colours: dict[int | None, tuple[float, ...]] = {
        each.value: (*(level / 255 for level in each.colour), 1.0) for each in classes
    }
    colours |= {None: (0.0, 0.0, 0.0, 0.0), 0: (0.0, 0.0, 0.0, 0.0)}  # transparent
    arguments = {
        "name": name,
        "axis_labels": ("y", "x"),
        "colormap": colours,
        "features": {
            "index": [0, *(each.value for each in classes)],
            "class": ["unlabelled", *(each.name for each in classes)],
        },
        "metadata": {METADATA_KEY: {"classes": classes}},
    }
    return label_map.labels, arguments, "labels"


def is_large(cube: SpectralCube) -> bool:
    """Return whether the layers of a cube are pyramids of several resolutions."""
    return cube.shape[0] * cube.shape[1] > _LARGEST_SINGLE_SCALE


def pyramid(pixels: NDArray[Any], cube: SpectralCube) -> Any:
    """Return the layer data of a picture or a map of a cube.

    Args:
        pixels: (H, W) or (H, W, 3).
        cube: the cube they show.

    Returns:
        for a large cube views of the pixels, a list from fine to coarse; otherwise the pixels.
    """
    return [pixels[::n, ::n] for n in _level_steps(pixels.shape)] if is_large(cube) else pixels


def finest(data: Any) -> Any:
    """Return the finest level of a pyramid, or data that are not a pyramid."""
    return data[0] if isinstance(data, Sequence) else data


def centre_of(step: int) -> float:
    """Return the centre of a coarse pixel, in fine pixels, `step` of which it spans."""
    return (step - 1) / 2


def preview_step(cube: SpectralCube) -> int:
    """Return the pixel step of a picture made within a second; 1 for small cubes."""
    return max(1, ceil(sqrt(np.prod(cube.shape, dtype=float) / _PREVIEW_VALUES)))


def every_nth_pixel(cube: SpectralCube, n: int) -> SpectralCube:
    """Return a cube of every n-th pixel of every n-th row."""
    return cube if n == 1 else replace(cube, data=np.asarray(cube.data[::n, ::n]))


def band_stack(cube: SpectralCube, step: int = 1) -> Any:
    """Return the values of a cube with the bands first, as napari's slider needs them, unread.

    Args:
        cube: any.
        step: every `step`-th pixel is taken along height and width.

    Returns:
        (bands, height, width): a view of the pixels if they are in memory and physical values,
        otherwise a `BandStack`.
    """
    plain = np.all(np.asarray(cube.scale) == 1) and not np.any(cube.offset) and cube.nodata is None
    if plain and isinstance(cube.data, np.ndarray):
        return np.moveaxis(cube.data[::step, ::step], -1, 0)
    return BandStack(cube, step)


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


def _level_steps(shape: Sequence[int]) -> list[int]:
    """Return the pixel step of each level of the pyramid of a (H, W, …) array."""
    n_halvings = ceil(log2(max(1.0, shape[0] * shape[1] / _COARSEST)) / 2)
    return [2**i for i in range(n_halvings + 1)]


def _contrast_limits(cube: SpectralCube) -> tuple[float, float]:
    """Return the range of values over all good bands, without outliers."""
    values = sample_pixels(cube)[:, cube.good_bands]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, _CONTRAST_PERCENTILES)
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)
