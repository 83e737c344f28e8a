"""A real viewer with the dock in it, and a hand on its mouse and keyboard."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.layers import Layer
from robot import Hand

from carl.cube import SpectralCube
from napari_carl.layer_data import cube_layers


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("carl ")]


@pytest.fixture
def carl_threads():
    """Return the function that lists the running threads of the plugin."""
    return our_threads


@pytest.fixture
def viewer(make_napari_viewer):
    """A viewer as a person sees it; whatever the test does, it ends without our threads."""
    made = make_napari_viewer(show=True)
    made.window.resize(1280, 800)
    yield made
    if hasattr(made.window, "_qt_window"):
        made.close()
    assert not our_threads()


@pytest.fixture
def show(viewer):
    """Adds a cube to the viewer as the reader does."""

    def add(cube: SpectralCube) -> None:
        for data, attributes, kind in cube_layers(cube):
            viewer.add_layer(Layer.create(data, attributes, kind))

    return add


@pytest.fixture
def dock(viewer):
    """The dock, opened as Plugins > CARL opens it."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    return widget


@pytest.fixture
def small_cube():
    """A cube of two tissues, 48 × 64 pixels in 8 bands, left and right, and their labels."""
    generator = np.random.default_rng(0)
    truth = np.ones((48, 64), np.uint8)
    truth[:, 32:] = 2
    spectra = np.array([np.linspace(0.2, 0.8, 8), np.linspace(0.8, 0.3, 8)])
    pixels = spectra[truth - 1] + 0.02 * generator.standard_normal((48, 64, 8))
    cube = SpectralCube(pixels.astype(np.float32), np.linspace(450, 660, 8), name="two tissues")
    return cube, truth


@pytest.fixture
def hand(viewer, dock):
    return Hand(viewer, dock.window())
