"""Keys of the canvas: number keys of the classes, keys of the tools and of undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_carl.connections import Connections
from napari_carl.layers import ViewerLayers
from napari_carl.session import Session
from napari_carl.strokes import StrokeTools

if TYPE_CHECKING:
    from napari.viewer import Viewer

N_CLASS_KEYS = 9
"""Number of classes that have a number key, 1 to 9."""


class StrokeKeys:
    """Number keys choose a class and paint with it, B is the brush, E the eraser, Ctrl+Z is undo.

    napari looks a key up in the active layer first, then in the viewer. The keys are bound on both,
    on the layer only if it belongs to the current cube; other layers keep napari's bindings.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        layers: ViewerLayers,
        tools: StrokeTools,
        connections: Connections,
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._tools = tools
        self._bound: list[tuple[Any, str, Any]] = []  # provider, key, binding before
        connections.callback(self._unbind)
        connections.connect(layers.strokes_replaced, self._bind)
        connections.connect(viewer.layers.selection.events.active, self._bind)
        self._bind()

    def _bind(self, event: Any = None) -> None:
        self._unbind()
        active, current = self._viewer.layers.selection.active, self._layers.current
        providers = [self._viewer]
        if current is not None and active in current.present():
            providers.append(active)
        actions: dict[str, Callable[[Any], None]] = {
            "B": lambda _: self._tools.use("paint"),
            "E": lambda _: self._tools.use("erase"),
            "Control-Z": lambda _: self._tools.undo(),
            "Control-Shift-Z": lambda _: self._tools.redo(),
        }
        for value in range(1, N_CLASS_KEYS + 1):
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
        def paint_class(_: Any) -> None:  # not a partial: napari requires a __name__
            if value in self._session.classes:
                self._session.classes.choose(value)
                self._tools.use("paint")

        return paint_class
