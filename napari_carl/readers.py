"""Reader of spectral cubes and label maps for napari."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal

from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.io import ChoiceError, LabelMap, is_label_map, is_readable, read_cube, read_labels
from carl.spectra.normalise import check_pixels
from napari_carl.layer_data import METADATA_KEY, LayerData, cube_layers, label_layer

NO_LAYERS: list[Any] = [(None,)]
"""napari's value for a file that the reader has handled without adding a layer."""


class UndecidedFiles:
    """Files that napari opened and that may be several cubes, for the docks that ask which one."""

    found = Signal(Path, object)  # path, ChoiceError


undecided_files = UndecidedFiles()


def get_reader(path: str | Sequence[str]) -> Callable[..., list[Any]] | None:
    """Return the reader of a file or of several, or None if one is neither cube nor label map."""
    paths = [path] if isinstance(path, str) else list(path)
    return (
        read if paths and all(is_readable(each) or is_label_map(each) for each in paths) else None
    )


def read(path: str | Sequence[str]) -> list[Any]:
    """Read cubes as two layers each, the bands and a colour picture above; label maps as labels.

    napari waits for readers, so the picture of a large cube is coarse; the dock replaces it.

    A file that cannot be read ends in a notification of one sentence and adds no layer. If the
    error were raised, napari would wrap the sentence and open a dialog that asks for another
    plugin, none of which reads cubes. If the file may be several cubes, the dock asks which one.
    """
    from napari.utils.notifications import show_error, show_info

    paths = [Path(path)] if isinstance(path, str) else [Path(each) for each in path]
    try:
        read_files = [(each.stem, _read_file(each)) for each in paths]
    except ChoiceError as error:
        if len(paths) == 1 and len(undecided_files.found):
            undecided_files.found.emit(paths[0], error)
        else:
            show_error(f"{error} The dock of CARL asks for it.")
        return NO_LAYERS
    except CarlError as error:
        show_error(str(error))
        return NO_LAYERS
    layers: list[LayerData] = []
    for name, found in read_files:
        if isinstance(found, LabelMap):
            layers.append(label_layer(name, found))
        else:
            layers += cube_layers(found, preview=True)
            for note in found.metadata["notes"]:
                show_info(f"{found.name}: {note}")
    return layers


def _read_file(path: Path) -> SpectralCube | LabelMap:
    if is_label_map(path):
        return read_labels(path, _shape_of_open_cube() if path.suffix == ".geojson" else None)
    cube = read_cube(path)
    check_pixels(cube)
    return cube


def _shape_of_open_cube() -> tuple[int, int] | None:
    """Return height and width of the cubes in the viewer if they agree, otherwise None.

    GeoJSON files of other programs do not state the size of their image.
    """
    from napari import current_viewer

    viewer = current_viewer()
    entries = (
        [] if viewer is None else [each.metadata.get(METADATA_KEY, {}) for each in viewer.layers]
    )
    shapes = {entry["cube"].shape[:2] for entry in entries if "cube" in entry}
    return shapes.pop() if len(shapes) == 1 else None
