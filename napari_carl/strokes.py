"""Tools that paint strokes on the current cube and record every change of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal
from qtpy.QtCore import QTimer

from carl.errors import CarlError
from napari_carl.annotation import Annotation
from napari_carl.connections import Connections
from napari_carl.layers import BRUSH_SIZE, ViewerLayers
from napari_carl.session import Session

if TYPE_CHECKING:
    from napari.layers import Labels

Tool = Literal["paint", "erase", "fill", "pan_zoom"]

_PUBLISH_DELAY_MS = 250
"""Pause after the last stroke before the map is updated."""


class StrokeTools:
    """Controls napari's brush, eraser and bucket on the layer of the current strokes.

    The layer edits the pixels of the annotation in place. Every stroke is recorded when it ends,
    and its effects are computed after a short pause.
    """

    tool_changed = Signal()  # the tool or the size of the brush has changed

    def __init__(self, layers: ViewerLayers, session: Session) -> None:
        self._layers = layers
        self._session = session
        self._strokes: Labels | None = None
        self._annotation: Annotation | None = None
        self._is_dragging = False
        self._layer_connections = Connections()
        self._connections = Connections()
        self._delay = QTimer()
        self._delay.setSingleShot(True)
        self._delay.setInterval(_PUBLISH_DELAY_MS)
        self._connections.connect(layers.strokes_replaced, self._on_strokes_replaced)
        self._connections.connect(session.class_chosen, self._select)

    def close(self) -> None:
        """Publish the last strokes and disconnect from the layer."""
        self._publish()
        self._layer_connections.close()
        self._connections.close()

    @property
    def tool(self) -> Tool:
        """The current tool."""
        return "pan_zoom" if self._strokes is None else self._strokes.mode

    @property
    def brush_size(self) -> int:
        """Width of the brush and the eraser in pixels."""
        return BRUSH_SIZE if self._strokes is None else int(self._strokes.brush_size)

    def use(self, tool: Tool) -> None:
        """Switch to a tool; the strokes layer becomes active and visible."""
        strokes = self._layers.require_strokes()
        if strokes is not None:
            strokes.visible = True
            strokes.mode = tool

    def set_brush_size(self, size: int) -> None:
        """Set the width of the brush and the eraser in pixels."""
        if self._strokes is not None:
            self._strokes.brush_size = size

    def undo(self) -> None:
        """Undo the last edit of the strokes or classes; a removed strokes layer appears again."""
        if self._is_shown():
            self._session.annotation.undo()

    def redo(self) -> None:
        """Redo the edit that was undone last."""
        if self._is_shown():
            self._session.annotation.redo()

    def _is_shown(self) -> bool:
        """Return whether there was a strokes layer; if there was none, add it."""
        shown = self._layers.strokes is not None
        self._layers.require_strokes()
        return shown

    def _on_strokes_replaced(self) -> None:
        self._is_dragging = False
        self._publish()  # of the cube before
        self._layer_connections.close()
        self._annotation = self._session.annotation
        self._layer_connections.connect(self._delay.timeout, self._annotation.publish)
        strokes = self._strokes = self._layers.strokes
        if strokes is not None:
            events, connect = strokes.events, self._layer_connections.connect
            connect(events.paint, self._on_painted)
            connect(events.data, self._on_data)
            # A script may edit the pixels without `paint`, but every redraw emits `set_data`.
            for changed in (events.set_data, events.labels_update):
                connect(changed, self._on_drawn)
            for changed in (events.mode, events.brush_size):
                connect(changed, self._on_tool)
            connect(events.selected_label, self._on_selected)
            strokes.mouse_drag_callbacks.append(self._follow_drag)
            self._layer_connections.callback(strokes.mouse_drag_callbacks.remove, self._follow_drag)
            self._select(self._session.classes.current)
        self.tool_changed.emit()

    def _follow_drag(self, layer: Labels, event: Any) -> Iterator[None]:
        """Wait for the end of a drag, so that one stroke is one edit however long it takes."""
        self._is_dragging = True
        self._delay.stop()
        yield
        while event.type == "mouse_move":
            yield
        self._is_dragging = False
        self._delay.start()

    def _on_painted(self, event: Any = None) -> None:
        if self._annotation is not None:
            self._annotation.commit()
        self._on_drawn()

    def _on_drawn(self, event: Any = None) -> None:
        if not self._is_dragging:
            self._delay.start()

    def _on_data(self, event: Any = None) -> None:
        """Take over an array that a script assigned to the layer."""
        strokes, annotation = self._strokes, self._annotation
        if strokes is None or annotation is None or strokes.data is annotation.pixels:
            return
        try:
            annotation.set_strokes(strokes.data)
        except CarlError as error:
            self._session.failed.emit(error)
        strokes.data = annotation.pixels

    def _publish(self) -> None:
        self._delay.stop()
        if self._annotation is not None:
            self._annotation.publish()

    def _on_tool(self, event: Any = None) -> None:
        self.tool_changed.emit()

    def _on_selected(self, event: Any = None) -> None:
        if self._strokes is not None:
            self._session.classes.choose(int(self._strokes.selected_label))

    def _select(self, value: int) -> None:
        if self._strokes is not None and self._strokes.selected_label != value:
            self._strokes.selected_label = value
