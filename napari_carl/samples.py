"""Sample data for napari: the tissue cube that comes with the plugin."""

from __future__ import annotations

from carl.cube import SpectralCube
from carl.files import resource_path
from carl.io import read_cube, read_labels
from napari_carl.layer_data import LayerData, cube_layers, label_layer


def bladder() -> list[LayerData]:
    """Return an H&E stained bladder, 40 bands from 380 to 770 nm, and its colour picture."""
    return cube_layers(_bladder_cube())


def bladder_labels() -> list[LayerData]:
    """Return the bladder with sparse labels of lumen, urothelium, stroma and blood."""
    cube = _bladder_cube()
    known = read_labels(resource_path("sample", "bladder_labels.png"), cube.shape)
    return [*cube_layers(cube), label_layer(f"{cube.name} labels", known)]


def _bladder_cube() -> SpectralCube:
    return read_cube(resource_path("sample", "bladder.tif"))
