"""The reader of cubes that napari calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.io import check_pixels, is_readable, read_cube
from napari_carl.layer_data import preview_layers

NOTHING_TO_ADD: list[Any] = [(None,)]
"""How a reader tells napari that it dealt with a file and has no layer for it."""


def get_reader(path: str | Sequence[str]) -> Callable[..., list[Any]] | None:
    """The reader of a file, as napari asks for it: None if it does not look like a cube."""
    paths = [path] if isinstance(path, str) else list(path)
    return read if paths and all(is_readable(each) for each in paths) else None


def read(path: str | Sequence[str]) -> list[Any]:
    """Cubes as layers, two for each: the stack of its bands and, on top, its colours.

    napari waits for readers, so the colours of a large cube are coarse; the dock refines them.

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
    return [layer for cube in cubes for layer in preview_layers(cube)]


def _open(path: str) -> SpectralCube:
    cube = read_cube(Path(path))
    check_pixels(cube)
    return cube
