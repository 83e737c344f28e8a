"""A real viewer with the dock, and events of mouse and keyboard."""

from __future__ import annotations

import threading
from time import sleep

import numpy as np
import pytest
from napari.layers import Layer
from robot import UserInput

from carl.cube import SpectralCube
from napari_carl.layer_data import cube_layers


def running_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("carl ")]


@pytest.fixture
def carl_threads():
    """A function that returns the running threads of the plugin."""
    return running_threads


@pytest.fixture
def viewer(make_napari_viewer):
    """A visible viewer; whatever the test does, no thread of the plugin may be left."""
    made = make_napari_viewer(show=True)
    made.window.resize(1280, 800)
    yield made
    if hasattr(made.window, "_qt_window"):
        made.close()
    assert not running_threads()


@pytest.fixture
def show(viewer):
    """A function that adds a cube to the viewer as the reader does."""

    def add(cube: SpectralCube) -> None:
        for data, attributes, kind in cube_layers(cube):
            viewer.add_layer(Layer.create(data, attributes, kind))

    return add


@pytest.fixture
def dock(viewer):
    """The dock, opened as by Plugins > CARL."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    return widget


@pytest.fixture
def no_network(monkeypatch):
    """Replace the embedding, which is slow, by a job that runs until it is cancelled."""

    def embed_cube(features, network, device, progress):
        while True:
            progress(0.5, "Spectral features")
            sleep(0.01)
        yield

    monkeypatch.setattr("napari_carl.feature_jobs.embed_cube", embed_cube)


@pytest.fixture
def small_cube():
    """A cube of two tissues side by side, 48 × 64 pixels, 8 bands, and its labels."""
    generator = np.random.default_rng(0)
    truth = np.ones((48, 64), np.uint8)
    truth[:, 32:] = 2
    spectra = np.array([np.linspace(0.2, 0.8, 8), np.linspace(0.8, 0.3, 8)])
    pixels = spectra[truth - 1] + 0.02 * generator.standard_normal((48, 64, 8))
    cube = SpectralCube(pixels.astype(np.float32), np.linspace(450, 660, 8), name="two tissues")
    return cube, truth


@pytest.fixture
def user(viewer, dock):
    """Mouse and keyboard."""
    return UserInput(viewer, dock.window())
