"""Reader of spectral cubes for napari."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from carl.errors import CarlError
from carl.io import is_readable, read_cube
from carl.spectra.normalise import check_pixels
from napari_carl.layer_data import cube_layers

NO_LAYERS: list[Any] = [(None,)]
"""napari's value for a file that the reader has handled without adding a layer."""


def get_reader(path: str | Sequence[str]) -> Callable[..., list[Any]] | None:
    """Return the reader of a file or of several, or None if one of them is not a cube."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(is_readable(each) for each in paths) else None


def read(path: str | Sequence[str]) -> list[Any]:
    """Read cubes as layers, two for each: the bands and, above them, a colour picture.

    napari waits for readers, so the picture of a large cube is coarse; the dock replaces it.

    A file that cannot be read ends in a notification of one sentence and adds no layer. If the
    error were raised, napari would wrap the sentence and open a dialog that asks for another
    plugin, none of which reads cubes.
    """
    from napari.utils.notifications import show_error, show_info

    paths = [path] if isinstance(path, str) else list(path)
    try:
        cubes = [read_cube(Path(each)) for each in paths]
        for cube in cubes:
            check_pixels(cube)
    except CarlError as error:
        show_error(str(error))
        return NO_LAYERS
    for cube in cubes:
        for note in cube.metadata["notes"]:
            show_info(f"{cube.name}: {note}")
    return [layer for cube in cubes for layer in cube_layers(cube, preview=True)]
