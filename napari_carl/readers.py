"""Cubes into napari: the reader it calls, and how a cube looks as layers.

What other modules may rely on, under the key "carl" of a layer's metadata:

* the band stack, an Image layer: ``{"cube": SpectralCube}``;
* its colour picture, an Image layer on top: ``{"picture_of": SpectralCube}``;
* labels, a Labels layer: ``{"classes": tuple[LabelClass, ...]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.io import check_pixels, is_readable, read_cube, sample_pixels
from carl.io.lazy import full_key

LayerData = tuple[Any, dict[str, Any], str]

METADATA_KEY = "carl"
NOTHING_TO_ADD: list[Any] = [(None,)]
"""How a reader tells napari that it dealt with a file and has no layer for it."""

_CONTRAST_PERCENTILES = (0.5, 99.5)


def get_reader(path: str | Sequence[str]) -> Callable[..., list[Any]] | None:
    """The reader of a file, as napari asks for it: None if it does not look like a cube."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(is_readable(each) for each in paths) else None


def read(path: str | Sequence[str]) -> list[Any]:
    """Cubes as layers, two for each: the stack of its bands and, on top, its colours.

    A file that cannot be read ends as one sentence in a notification of napari, with nothing added.
    Were the error let through, napari would wrap the sentence in its own and ask in a dialog for
    another plugin, none of which reads cubes.
    """
    from napari.utils.notifications import show_error, show_info

    paths = [path] if isinstance(path, str) else list(path)
    try:
        cubes = [_open(each) for each in paths]
    except CarlError as error:
        show_error(str(error))
        return NOTHING_TO_ADD
    for cube in cubes:
        for note in cube.metadata["notes"]:
            show_info(f"{cube.name}: {note}")
    return [layer for cube in cubes for layer in cube_layers(cube)]


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
        "metadata": {METADATA_KEY: {"cube": cube}},
    }
    return band_stack(cube), arguments, "image"


def colour_layer(cube: SpectralCube) -> LayerData:
    """The picture of a cube in the colours of its tissue, or in false ones beyond visible light.

    Returns:
        (height, width, 3) uint8, arguments of an Image layer, and "image".
    """
    from carl.spectra.colour import is_visible, true_colour

    colours = "colour" if is_visible(cube) else "false colour"
    arguments = {
        "name": f"{cube.name} {colours}",
        "rgb": True,
        "metadata": {METADATA_KEY: {"picture_of": cube}},
    }
    return true_colour(cube), arguments, "image"


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


class BandStack:
    """A cube as a (bands, height, width) array of float32 physical values, read as asked for."""

    def __init__(self, cube: SpectralCube) -> None:
        self._cube = cube

    @property
    def shape(self) -> tuple[int, int, int]:
        """(bands, height, width)."""
        height, width, bands = self._cube.shape
        return bands, height, width

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 3

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the values."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        parts = full_key(key, self.shape)
        bands, rows, columns = (slice(i, i + 1) if isinstance(i, int) else i for i in parts)
        block = np.moveaxis(self._cube.read(rows, columns, bands), -1, 0)
        return block[tuple(0 if isinstance(part, int) else slice(None) for part in parts)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


def _open(path: str) -> SpectralCube:
    cube = read_cube(Path(path))
    check_pixels(cube)
    return cube


def _contrast_limits(cube: SpectralCube) -> tuple[float, float]:
    """From dark to bright over all bands, without the outermost values."""
    values = sample_pixels(cube)[:, cube.good_bands]
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, _CONTRAST_PERCENTILES)
    return (float(low), float(high)) if low < high else (float(low), float(low) + 1.0)
