"""Tools that paint strokes on the current cube, and reports of every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_carl.connections import Connections
from napari_carl.layers import BRUSH_SIZE, ViewerLayers
from napari_carl.session import Session

if TYPE_CHECKING:
    from napari.layers import Labels

Tool = Literal["paint", "erase", "fill", "pan_zoom"]

_REPORT_DELAY_MS = 250
"""Pause after the last stroke before the session is informed, and the map updated."""


class StrokeTools:
    """Controls napari's brush, eraser and bucket on the current strokes layer.

    Changes of the strokes are reported to the session after a short pause.
    """

    tool_changed = Signal()  # the tool or the size of the brush has changed

    def __init__(self, layers: ViewerLayers, session: Session) -> None:
        self._layers = layers
        self._session = session
        self._strokes: Labels | None = None
        self._layer_connections = Connections()
        self._connections = Connections()
        self._delay = QTimer()
        self._delay.setSingleShot(True)
        self._delay.setInterval(_REPORT_DELAY_MS)
        self._connections.connect(self._delay.timeout, self.report)
        self._connections.connect(layers.strokes_replaced, self._on_strokes_replaced)
        self._connections.connect(session.classes.current_changed, self._select)

    def close(self) -> None:
        """Report the last strokes and disconnect from the layer."""
        self._delay.stop()
        self.report()
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
        """Undo the last stroke."""
        if self._strokes is not None:
            self._strokes.undo()

    def redo(self) -> None:
        """Redo the stroke that was undone."""
        if self._strokes is not None:
            self._strokes.redo()

    def erase_class(self, value: int) -> None:
        """Erase all strokes of a class on the current cube; this can be undone."""
        if self._strokes is not None:
            self._erase(self._strokes.data == value)

    def clear(self) -> None:
        """Erase all strokes on the current cube; this can be undone."""
        if self._strokes is not None:
            self._erase(self._strokes.data != 0)

    def restore(self, labels: NDArray[Any]) -> None:
        """Add saved (H, W) strokes to the current cube; pixels already labelled stay unchanged."""
        strokes = self._layers.require_strokes()
        if strokes is not None:
            strokes.data[:] = np.where(strokes.data == 0, labels, strokes.data)
            strokes.refresh()
            self.report()

    def report(self) -> None:
        """Pass the strokes as they are now to the session."""
        cube = self._session.cube
        if self._strokes is not None:
            self._session.set_strokes(self._strokes.data)
        elif cube is not None:
            self._session.set_strokes(np.zeros(cube.shape[:2], np.uint8))

    def _erase(self, mask: NDArray[np.bool_]) -> None:
        if self._strokes is not None and mask.any():
            self._strokes.data_setitem(np.nonzero(mask), 0)

    def _on_strokes_replaced(self) -> None:
        self._layer_connections.close()
        strokes = self._strokes = self._layers.strokes
        if strokes is not None:
            events, connect = strokes.events, self._layer_connections.connect
            # Undo and redo emit neither paint nor data, but every redraw emits set_data.
            for changed in (events.paint, events.data, events.set_data, events.labels_update):
                connect(changed, self._on_painted)
            for changed in (events.mode, events.brush_size):
                connect(changed, self._on_tool)
            connect(events.selected_label, self._on_selected)
            self._select(self._session.classes.current)
        self.report()
        self.tool_changed.emit()

    def _on_painted(self, event: Any = None) -> None:
        self._delay.start()

    def _on_tool(self, event: Any = None) -> None:
        self.tool_changed.emit()

    def _on_selected(self, event: Any = None) -> None:
        if self._strokes is not None:
            self._session.classes.choose(int(self._strokes.selected_label))

    def _select(self, value: int) -> None:
        if self._strokes is not None and self._strokes.selected_label != value:
            self._strokes.selected_label = value
