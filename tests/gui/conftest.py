"""A real viewer with the dock in it, and a hand on its mouse and keyboard."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from carl.cube import SpectralCube
from napari_carl.layer_data import cube_layers


def our_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("carl ")]


@pytest.fixture
def carl_threads():
    """Tells the threads of ours that run."""
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


class Hand:
    """Moves the mouse and presses keys over the canvas of a viewer."""

    def __init__(self, viewer, window) -> None:
        self._viewer = viewer
        self._canvas = window.findChild(QOpenGLWidget)

    def paint(self, *corners) -> None:
        """Draw a stroke through (row, column) corners with the left button."""
        legs = [np.linspace(start, stop, 20) for start, stop in pairwise(np.array(corners, float))]
        path = [self._on_canvas(point) for point in np.concatenate(legs)]
        self._send(QEvent.Type.MouseMove, path[0], held=False)
        self._send(QEvent.Type.MouseButtonPress, path[0], held=True)
        for position in path[1:]:
            self._send(QEvent.Type.MouseMove, position, held=True)
        QTest.qWait(50)  # napari looks at the mouse every 5 ms: as a hand does, be still at the end
        self._send(QEvent.Type.MouseButtonRelease, path[-1], held=False)

    def point_at(self, row: float, column: float) -> None:
        """Move the mouse over a pixel."""
        self._send(QEvent.Type.MouseMove, self._on_canvas((row, column)), held=False)

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        """Press a key over the canvas."""
        QTest.keyClick(self._canvas, key, modifier)
        QApplication.processEvents()

    def _on_canvas(self, point) -> QPointF:
        centre, zoom = np.array(self._viewer.camera.center[-2:]), self._viewer.camera.zoom
        y, x = (np.array(point) - centre) * zoom
        return QPointF(self._canvas.width() / 2 + x, self._canvas.height() / 2 + y)

    def _send(self, kind, position: QPointF, *, held: bool) -> None:
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        event = QMouseEvent(
            kind,
            position,
            self._canvas.mapToGlobal(position),
            none if kind == QEvent.Type.MouseMove else left,
            left if held else none,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self._canvas, event)
        QApplication.processEvents()


@pytest.fixture
def hand(viewer, dock):
    return Hand(viewer, dock.window())
