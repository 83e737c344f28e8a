"""Text on the canvas, spectrum under the cursor, framing and visible part of the cube."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_carl.connections import Connections
from napari_carl.layers import ViewerLayers
from napari_carl.segmentation import Viewport
from napari_carl.session import Session
from napari_carl.steps import describe_display

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_FONT_SIZE = 11
"""Size of the text on the canvas, in points."""
_CHARACTERS = "truecolfasbndimg0123456789/·"
"""Characters that `describe_display` uses."""
_CHARACTER_INTERVAL_MS = 50
"""Time between two characters that are rendered in advance."""
_CURSOR_INTERVAL_MS = 40
"""Shortest time between two spectra under the cursor."""


class CanvasText:
    """Describes on the canvas what is displayed, and synchronises the slider with the session.

    The first rendering of a character takes vispy 20 ms, which would interrupt the user in the
    middle of a stroke; so the characters are rendered one by one, invisibly, before a cube is open.
    """

    def __init__(self, viewer: Viewer, session: Session, layers: ViewerLayers) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._unrendered = list(_CHARACTERS)
        self._timer = QTimer()
        self._timer.setInterval(_CHARACTER_INTERVAL_MS)
        self._connections = Connections()
        self._connections.connect(self._timer.timeout, self._render_character)
        self._connections.connect(viewer.dims.events.current_step, self._on_slider)
        self._connections.connect(session.cube_changed, self._on_cube)
        self._connections.connect(session.band_changed, self._on_band)
        self._connections.connect(session.picture_changed, self._write)
        self._connections.connect(layers.shown_changed, self._write)
        self._timer.start()

    def close(self, *, canvas_exists: bool = True) -> None:
        """Disconnect from the slider and remove the text."""
        with suppress(RuntimeError):  # the application quits: Qt has deleted the timer
            self._timer.stop()
        self._connections.close()
        if canvas_exists:
            self._overlay.visible = False

    @property
    def _overlay(self) -> Any:
        return self._viewer.canvas.overlays.text

    @property
    def _band_axis(self) -> int:
        """The slider axis of the bands: the third from the last; negative if there is no slider."""
        return int(self._viewer.dims.ndim) - 3

    @property
    def _slider_band(self) -> int:
        axis = self._band_axis
        return int(self._viewer.dims.current_step[axis]) if axis >= 0 else 0

    def _move_slider(self, band: int) -> None:
        """Move the slider to a band; with cubes of more bands in the viewer it reaches further."""
        if band != self._slider_band and self._band_axis >= 0:
            self._viewer.dims.set_current_step(self._band_axis, band)

    def _render_character(self) -> None:
        if self._session.cube is not None or not self._unrendered:
            self._timer.stop()
            self._write()
        else:
            self._overlay.color = (0, 0, 0, 0)
            self._overlay.text = self._unrendered.pop()
            self._overlay.visible = True

    def _on_cube(self) -> None:
        cube = self._session.cube
        if cube is not None:
            self._session.band = min(self._slider_band, cube.n_bands - 1)
            self._move_slider(self._session.band)
        self._write()

    def _on_slider(self, event: Any = None) -> None:
        cube = self._session.cube
        if cube is None:
            return
        band = min(self._slider_band, cube.n_bands - 1)
        if band != self._session.band:
            self._session.show_band(band)
        # Past the last band there is nothing to show: the slider stops there.
        self._move_slider(band)

    def _on_band(self, band: int) -> None:
        self._move_slider(band)
        self._write()

    def _write(self) -> None:
        overlay = self._overlay
        overlay.color = None  # contrasts with the background
        overlay.visible = self._session.cube is not None
        overlay.text = describe_display(self._session, self._layers.shown)
        overlay.position = "top_left"
        overlay.font_size = _FONT_SIZE


class CursorSpectrum:
    """Requests the spectrum of the pixel under the cursor, at most every 40 ms."""

    def __init__(
        self, viewer: Viewer, session: Session, layers: ViewerLayers, connections: Connections
    ) -> None:
        self._session = session
        self._layers = layers
        self._position: tuple[float, ...] = ()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CURSOR_INTERVAL_MS)
        connections.connect(self._timer.timeout, self._request)
        connections.callback(self._timer.stop)
        viewer.mouse_move_callbacks.append(self._on_move)
        connections.callback(viewer.mouse_move_callbacks.remove, self._on_move)

    def _on_move(self, viewer: Viewer, event: Any) -> None:
        self._position = event.position
        if not self._timer.isActive():
            self._timer.start()

    def _request(self) -> None:
        layers = self._layers.current
        if layers is not None:
            row, column = layers.image.world_to_data(self._position)[-2:]
            self._session.read_spectrum(round(row), round(column))


class Framing:
    """Fits a cube into the canvas when it is opened, and whatever is visible on napari's Home.

    Without it, Home fits all layers, including the hidden ones of other cubes. The canvas may get
    its size later; the cube is fitted into it again until the user moves the camera. Cubes that
    were in the viewer before the dock keep the view that the user has chosen.
    """

    def __init__(
        self, viewer: Viewer, session: Session, layers: ViewerLayers, connections: Connections
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._present = {layer.unique_id for layer in viewer.layers}
        self._shape: tuple[int, ...] = ()  # of the cube framed last
        connections.connect(layers.cube_added, self._on_added)
        connections.connect(session.cube_changed, self._on_cube)
        self._framed: tuple[Any, ...] = ()  # centre and zoom of the camera after framing
        connections.connect(viewer.events.reset_view, self._on_reset)
        connections.connect(viewer.canvas.events.size, self._on_resize)

    def _on_added(self) -> None:
        layers = self._layers.current
        if layers is not None and layers.image.unique_id not in self._present:
            self._frame([layers.image])

    def _on_cube(self) -> None:
        """Frame a cube that is selected, unless it has the size of the one before."""
        layers = self._layers.current
        before, self._shape = self._shape, () if layers is None else layers.cube.shape[:2]
        if layers is not None and before not in ((), self._shape):
            self._frame([layers.image])

    def _on_resize(self, event: Any) -> None:
        if self._framed == self._view:
            self._on_reset()

    def _on_reset(self, event: Any = None) -> None:
        if self._layers.current is not None:
            visible = [layer for layer in self._viewer.layers if layer.visible]
            self._frame(visible or [self._layers.current.image])

    def _frame(self, layers: Sequence[Layer]) -> None:
        # While several layers are removed, a cube may be selected whose layers are gone.
        present = [layer for layer in layers if layer in self._viewer.layers]
        n_dims = self._viewer.dims.ndim
        if all(layer.ndim < n_dims for layer in present):  # napari needs one with all axes
            present += [layer for layer in self._viewer.layers if layer.ndim == n_dims][:1]
        if present:
            with self._viewer.events.reset_view.blocker(self._on_reset):
                self._viewer.fit_to_view(layers=present)
            self._framed = self._view

    @property
    def _view(self) -> tuple[Any, ...]:
        camera = self._viewer.scene.camera
        return (*camera.center, camera.zoom)


class ViewportTracker:
    """Keeps the session's viewport, the visible part of the cube, up to date."""

    def __init__(
        self, viewer: Viewer, session: Session, layers: ViewerLayers, connections: Connections
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        camera, canvas = viewer.scene.camera, viewer.canvas
        for changed in (camera.events.zoom, camera.events.center, canvas.events.size):
            connections.connect(changed, self._update)
        connections.connect(session.cube_changed, self._update)

    def _update(self, event: Any = None) -> None:
        layers, camera = self._layers.current, self._viewer.scene.camera
        if layers is None:
            self._session.viewport = None
            return
        scale, translate = layers.image.scale[-2:], layers.image.translate[-2:]
        half = np.array(self._viewer.canvas.size) / camera.zoom / 2
        centre = np.array(camera.center[-2:])
        corners = (np.array([centre - half, centre + half]) - translate) / scale
        first, stop = np.clip(corners.round().astype(int), 0, layers.cube.shape[:2])
        step = max(1, int(1 / (camera.zoom * float(scale.max()))))
        rows, columns = zip(first.tolist(), stop.tolist(), strict=True)
        is_visible = rows[0] < rows[1] and columns[0] < columns[1]
        self._session.viewport = Viewport(rows, columns, step) if is_visible else None
