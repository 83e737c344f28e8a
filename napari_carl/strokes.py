"""Painting on the current cube: tools, undo, and word of every change to the strokes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_carl.layers import BRUSH_SIZE, ViewerLayers
from napari_carl.session import Session

if TYPE_CHECKING:
    from napari.layers import Labels

Tool = Literal["paint", "erase", "fill", "pan_zoom"]


class StrokeTools:
    """napari's own brush, eraser and bucket on the layer of the strokes, under one roof."""

    touched = Signal()  # the strokes may have changed: painted, filled, undone, replaced
    tool_changed = Signal()  # another tool or another size of the brush

    def __init__(self, layers: ViewerLayers, session: Session) -> None:
        self._layers = layers
        self._session = session
        self._watched: Labels | None = None
        layers.strokes_replaced.connect(self._watch)
        session.classes.current_changed.connect(self._select)

    def close(self) -> None:
        """Let go of the layer that is watched."""
        self._unwatch()

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return "pan_zoom" if self._watched is None else self._watched.mode

    @property
    def brush_size(self) -> int:
        """Width of the brush and the eraser in pixels."""
        return BRUSH_SIZE if self._watched is None else int(self._watched.brush_size)

    def use(self, tool: Tool) -> None:
        """Take a tool in hand; the layer with the strokes becomes active and visible."""
        strokes = self._layers.require_strokes()
        if strokes is not None:
            strokes.visible = True
            strokes.mode = tool

    def set_brush_size(self, size: int) -> None:
        """Make brush and eraser this many pixels wide."""
        if self._watched is not None:
            self._watched.brush_size = size

    def undo(self) -> None:
        """Take the last stroke back."""
        if self._watched is not None:
            self._watched.undo()

    def redo(self) -> None:
        """Do again what was taken back."""
        if self._watched is not None:
            self._watched.redo()

    def erase_class(self, value: int) -> None:
        """Take all strokes of a class off the current cube; undo brings them back."""
        if self._watched is not None:
            where = np.nonzero(self._watched.data == value)
            if where[0].size:
                self._watched.data_setitem(where, 0)

    def clear(self) -> None:
        """Take all strokes off the current cube; undo brings them back."""
        if self._watched is not None and self._watched.data.any():
            self._watched.data_setitem(np.nonzero(self._watched.data), 0)

    def restore(self, labels: NDArray[Any]) -> None:
        """Put strokes of an earlier day on the current cube; what is painted already stays."""
        strokes = self._layers.require_strokes()
        if strokes is not None:
            strokes.data[:] = np.where(strokes.data == 0, labels, strokes.data)
            strokes.refresh()
            self.report()

    def report(self) -> None:
        """Tell the session the strokes as they are now."""
        cube = self._session.cube
        if self._watched is not None:
            self._session.set_strokes(self._watched.data)
        elif cube is not None:
            self._session.set_strokes(np.zeros(cube.shape[:2], np.uint8))

    def _watch(self) -> None:
        self._unwatch()
        strokes = self._watched = self._layers.strokes
        if strokes is not None:
            for emitter, callback in self._connections(strokes):
                emitter.connect(callback)
            self._select(self._session.classes.current)
        self.report()
        self.tool_changed.emit()

    def _unwatch(self) -> None:
        if self._watched is not None:
            for emitter, callback in self._connections(self._watched):
                emitter.disconnect(callback)
            self._watched = None

    def _connections(self, strokes: Labels) -> list[tuple[Any, Any]]:
        events = strokes.events
        # Undo and redo emit neither paint nor data; any redrawing emits set_data.
        changes = (events.paint, events.data, events.set_data, events.labels_update)
        tools = (events.mode, events.brush_size)
        return [
            *((emitter, self._on_change) for emitter in changes),
            *((emitter, self._on_tool) for emitter in tools),
            (events.selected_label, self._on_selected),
        ]

    def _on_change(self, event: Any = None) -> None:
        self.touched.emit()

    def _on_tool(self, event: Any = None) -> None:
        self.tool_changed.emit()

    def _on_selected(self, event: Any = None) -> None:
        if self._watched is not None:
            self._session.classes.choose(int(self._watched.selected_label))

    def _select(self, value: int) -> None:
        if self._watched is not None and self._watched.selected_label != value:
            self._watched.selected_label = value
