"""The canvas beside the layers: what is shown in words, the pixel under the cursor, the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_carl.layers import ViewerLayers
from napari_carl.segmentation import Viewport
from napari_carl.session import Session
from napari_carl.steps import describe_shown
from napari_carl.strokes import StrokeTools

if TYPE_CHECKING:
    from napari.viewer import Viewer

N_KEYS = 9
_FONT_SIZE = 11
_LETTERS = "true colo false band embedding nm 0123456789 / ·"
"""What `describe_shown` writes with."""


class CanvasText:
    """Says on the canvas what is shown, and keeps the slider and the session at the same band."""

    def __init__(self, viewer: Viewer, session: Session, layers: ViewerLayers) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._has_canvas = True
        self._unknown_letters = sorted(set(_LETTERS) - {" "})
        viewer.dims.events.current_step.connect(self._on_slider)
        session.cube_changed.connect(self._on_cube)
        session.band_changed.connect(self._on_band)
        session.picture_changed.connect(self._write)
        layers.shown_changed.connect(self._write)

    def close(self) -> None:
        """Let go of the slider and take the text off."""
        self._viewer.dims.events.current_step.disconnect(self._on_slider)
        if self._has_canvas:
            self._overlay.visible = False

    def forget_canvas(self) -> None:
        """There is nothing to write on any more."""
        self._has_canvas = False

    def learn_letter(self) -> bool:
        """Have one more letter drawn, unseen; to be called now and then as long as it is true.

        A letter takes 0.02 s when it is drawn for the first time, and a line of them too long for
        somebody who paints.
        """
        if self._session.cube is not None or not self._unknown_letters:
            self._write()
            return False
        overlay = self._overlay
        overlay.color = (0, 0, 0, 0)
        overlay.text = self._unknown_letters.pop()
        overlay.visible = True
        return True

    @property
    def _overlay(self) -> Any:
        return self._viewer.canvas.overlays.text

    @property
    def _slider_band(self) -> int:
        return int(self._viewer.dims.current_step[self._axis]) if self._axis >= 0 else 0

    @property
    def _axis(self) -> int:
        """The axis of the bands: the third from the last, whatever else is in the viewer."""
        return int(self._viewer.dims.ndim) - 3

    def _on_cube(self) -> None:
        cube = self._session.cube
        if cube is not None:
            self._session.band = min(self._slider_band, cube.n_bands - 1)
        self._write()

    def _on_slider(self, event: Any = None) -> None:
        cube, band = self._session.cube, self._slider_band
        if cube is not None and band != self._session.band and band < cube.n_bands:
            self._session.show_band(band)

    def _on_band(self, band: int) -> None:
        if band != self._slider_band:
            self._viewer.dims.set_current_step(self._axis, band)
        self._write()

    def _write(self) -> None:
        overlay = self._overlay
        overlay.color = None  # as suits the background
        overlay.visible = self._session.cube is not None
        overlay.text = describe_shown(self._session, self._layers.shown)
        overlay.position = "top_left"
        overlay.font_size = _FONT_SIZE


class Pointer:
    """Tells the pixel of the current cube that the cursor is over."""

    moved = Signal(int, int)  # row, column; may lie outside the cube

    def __init__(self, viewer: Viewer, layers: ViewerLayers) -> None:
        self._viewer = viewer
        self._layers = layers
        viewer.mouse_move_callbacks.append(self._on_move)

    def close(self) -> None:
        """Stop listening."""
        self._viewer.mouse_move_callbacks.remove(self._on_move)

    def _on_move(self, viewer: Viewer, event: Any) -> None:
        layers = self._layers.current
        if layers is not None:
            row, column = layers.image.world_to_data(event.position)[-2:]
            self.moved.emit(round(row), round(column))


class ViewportFollower:
    """Tells the session what of its cube is seen, so that this is worked on first."""

    def __init__(self, viewer: Viewer, session: Session, layers: ViewerLayers) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        camera, canvas = viewer.scene.camera, viewer.canvas
        self._emitters = (camera.events.zoom, camera.events.center, canvas.events.size)
        for emitter in self._emitters:
            emitter.connect(self._on_moved)
        session.cube_changed.connect(self._on_moved)

    def close(self) -> None:
        """Stop following."""
        for emitter in self._emitters:
            emitter.disconnect(self._on_moved)

    def _on_moved(self, event: Any = None) -> None:
        layers, camera = self._layers.current, self._viewer.scene.camera
        if layers is None:
            self._session.viewport = None
            return
        scale, translate = layers.image.scale[-2:], layers.image.translate[-2:]
        half = np.array(self._viewer.canvas.size) / camera.zoom / 2
        centre = np.array(camera.center[-2:])
        corners = (np.array([centre - half, centre + half]) - translate) / scale
        first, last = np.clip(corners.round().astype(int), 0, layers.cube.shape[:2])
        step = max(1, int(1 / (camera.zoom * float(scale.max()))))
        rows, columns = zip(first.tolist(), last.tolist(), strict=True)
        seen = rows[0] < rows[1] and columns[0] < columns[1]
        self._session.viewport = Viewport(rows, columns, step) if seen else None


class Keys:
    """Number keys choose a class and paint with it, B is the brush, E the eraser.

    A key is looked up in the active layer before the viewer. So the keys are bound on both, on the
    layer only if it is one of the current cube's: elsewhere they keep napari's meaning.
    """

    def __init__(
        self, viewer: Viewer, session: Session, layers: ViewerLayers, tools: StrokeTools
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._tools = tools
        self._bound: list[tuple[Any, str, Any]] = []  # on what, which key, what it did before
        layers.strokes_replaced.connect(self._bind)
        viewer.layers.selection.events.active.connect(self._bind)
        self._bind()

    def close(self) -> None:
        """Give all keys back."""
        self._viewer.layers.selection.events.active.disconnect(self._bind)
        self._unbind()

    def _bind(self, event: Any = None) -> None:
        self._unbind()
        active, current = self._viewer.layers.selection.active, self._layers.current
        providers = [self._viewer]
        if current is not None and active in current.present():
            providers.append(active)
        actions: dict[str, Callable[[Any], None]] = {
            "B": lambda _: self._tools.use("paint"),
            "E": lambda _: self._tools.use("erase"),
        }
        for value in range(1, N_KEYS + 1):
            actions[str(value)] = self._painting(value)
        for provider in providers:
            for key, action in actions.items():
                before = provider.bind_key(key, action, overwrite=True)
                self._bound.append((provider, key, before))

    def _unbind(self) -> None:
        for provider, key, before in self._bound:
            provider.bind_key(key, before, overwrite=True)
        self._bound.clear()

    def _painting(self, value: int) -> Callable[[Any], None]:
        def paint_class(_: Any) -> None:  # not a partial: napari asks bindings for their __name__
            if value in self._session.classes:
                self._session.classes.choose(value)
                self._tools.use("paint")

        return paint_class
