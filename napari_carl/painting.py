"""Choice of the tool that paints strokes, and what keeps it from painting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_carl.connections import Connections
from napari_carl.layers import ViewerLayers
from napari_carl.strokes import StrokeTools, Tool

if TYPE_CHECKING:
    from napari.viewer import Viewer

_PAINTING_TOOLS = ("paint", "erase", "fill")


class Painting:
    """Prepares the viewer for the tools of the dock, and reports what keeps them from painting.

    napari paints on the selected layer only, and strokes are painted on the rows and the columns
    of a cube in a 2D view. The user may leave that state at any time while the brush is chosen.
    Layers are compared by ``==``: napari hands a plugin proxies, which are new objects each time.

    Attributes:
        notice: what `use` changed in the viewer, in one line; empty after the next change by the
            user.
    """

    changed = Signal()  # the tool, the notice, the obstacle, or whether the keys apply

    def __init__(
        self,
        viewer: Viewer,
        layers: ViewerLayers,
        tools: StrokeTools,
        connections: Connections,
    ) -> None:
        self.notice = ""
        self._viewer = viewer
        self._layers = layers
        self._tools = tools
        for changed in (
            viewer.dims.events.ndisplay,
            viewer.dims.events.order,
            viewer.layers.selection.events.active,
            viewer.layers.selection.events.changed,
            viewer.layers.events.renamed,
            tools.tool_changed,
            layers.strokes_replaced,
        ):
            connections.connect(changed, self._on_change)
        viewer.mouse_drag_callbacks.append(self._on_press)
        connections.callback(viewer.mouse_drag_callbacks.remove, self._on_press)

    @property
    def has_keys(self) -> bool:
        """Whether the keys of the dock apply: not if a layer is selected that napari edits."""
        active, current = self._viewer.layers.selection.active, self._layers.current
        if current is None:
            return False
        is_image = isinstance(active, current.image.__class__)
        return active is None or is_image or active in current.present()

    @property
    def obstacle(self) -> str:
        """What keeps the chosen tool from painting, in one sentence; empty if it paints."""
        strokes, layers = self._layers.strokes, self._viewer.layers
        if strokes is None or self._tools.tool not in _PAINTING_TOOLS:
            return ""
        if self._viewer.dims.ndisplay == 3:
            return "3D view: strokes are painted in 2D."
        if not self._shows_pixels:
            return "Other axes are displayed: strokes are painted on rows and columns."
        if layers.selection.active is None:
            return "Several layers are selected." if layers.selection else "No layer is selected."
        if layers.selection.active != strokes:
            return f"Layer '{layers.selection.active.name}' is selected."
        return ""

    def use(self, tool: Tool) -> None:
        """Choose a tool, and change in the viewer what keeps it from painting."""
        if self._layers.current is None:
            return
        done: list[str] = []
        if not self._shows_pixels:
            self._viewer.dims.ndisplay = 2
            self._viewer.dims.order = tuple(range(self._viewer.dims.ndim))
            done.append("Switched to the 2D view of the rows and columns.")
        before = self._viewer.layers.selection.active
        self._tools.use(tool)
        strokes = self._layers.strokes
        if strokes is not None and before != strokes:
            done.append(f"Selected the layer '{strokes.name}'.")
        if self._lift():
            done.append("Moved the strokes above the other layers.")
        self.notice = " ".join(done)
        self.changed.emit()

    @property
    def _shows_pixels(self) -> bool:
        """Whether the view is 2D and shows the rows and the columns of the cube."""
        dims = self._viewer.dims
        return dims.ndisplay == 2 and sorted(dims.displayed) == [dims.ndim - 2, dims.ndim - 1]

    def _lift(self) -> bool:
        """Move the strokes above the other layers of their cube, if they are not there."""
        current, strokes, layers = self._layers.current, self._layers.strokes, self._viewer.layers
        if current is None or strokes is None:
            return False
        highest = max(layers.index(layer) for layer in current.present())
        return bool(layers.move(layers.index(strokes), highest + 1))

    def _on_press(self, viewer: Viewer, event: Any) -> None:
        """Lift the strokes before a stroke is painted, so that it is seen."""
        if self._tools.tool in _PAINTING_TOOLS and not self.obstacle:
            self._lift()

    def _on_change(self, event: Any = None) -> None:
        self.notice = ""
        self.changed.emit()
