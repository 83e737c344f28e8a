"""Keys of the canvas: number keys of the classes, keys of the tools and of undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.settings import get_settings
from napari.utils.action_manager import action_manager

from napari_carl.connections import Connections
from napari_carl.layers import ViewerLayers
from napari_carl.painting import Painting
from napari_carl.session import Session
from napari_carl.strokes import StrokeTools, Tool

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

N_CLASS_KEYS = 9
"""Number of classes that have a number key, 1 to 9."""

TOOL_KEYS: dict[Tool, str] = {"paint": "B", "erase": "E", "fill": "F"}
"""Keys of the tools."""

HELP = (
    "press the number of a class to paint it, <B> for the brush, <E> for the eraser, "
    "<F> to fill, hold <Space> to move the image"
)
"""Help in the status bar, in place of napari's list of the keys of its tools."""


class StrokeKeys:
    """Number keys choose a class and paint with it, letters choose a tool, Ctrl+Z is undo.

    The keys are bound while no layer, an image or a layer of the current cube is selected. Layers
    that are edited with napari's own keys, such as points, shapes and other labels, keep these.

    napari looks a key up in the selected layer first, then in the viewer, and shows the keys of
    the layer in tooltips, in the status bar and in its preferences. So while the keys are bound, on
    the viewer and on the selected layer, they are taken from napari's actions, which updates these.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        layers: ViewerLayers,
        tools: StrokeTools,
        painting: Painting,
        connections: Connections,
    ) -> None:
        self._viewer = viewer
        self._session = session
        self._layers = layers
        self._tools = tools
        self._painting = painting
        self._actions = self._make_actions()
        self._bound: list[tuple[Any, str, Any]] = []  # provider, key, binding before
        self._selected: Layer | None = None  # layer that was selected when the keys were bound
        self._taken: dict[str, list[Any]] = {}  # name of an action of napari: its keys taken
        self._providers: set[type] = set()  # classes from whose actions keys are taken
        self._help = _LayerHelp(viewer)
        connections.callback(self._release)
        connections.connect(painting.changed, self._update)
        connections.connect(layers.strokes_replaced, self._update)
        connections.connect(action_manager.events.shortcut_changed, self._on_shortcut)
        connections.connect(get_settings().shortcuts.events, self._on_settings)
        self._update()

    def _make_actions(self) -> dict[str, Callable[[Any], None]]:
        actions = {key: self._using(tool) for tool, key in TOOL_KEYS.items()}
        for value in range(1, N_CLASS_KEYS + 1):
            actions[str(value)] = self._painting_class(value)
        actions["Control-Z"] = lambda _: self._tools.undo()
        actions["Control-Shift-Z"] = lambda _: self._tools.redo()
        return actions

    def _using(self, tool: Tool) -> Callable[[Any], None]:
        def use_tool(_: Any) -> None:  # not a partial: napari requires a __name__
            self._painting.use(tool)

        return use_tool

    def _painting_class(self, value: int) -> Callable[[Any], None]:
        def paint_class(_: Any) -> None:
            if value in self._session.classes:
                self._session.classes.choose(value)
                self._painting.use("paint")

        return paint_class

    def _update(self) -> None:
        active, current = self._viewer.layers.selection.active, self._layers.current
        if current is None or not self._painting.has_keys:
            self._release()
            return
        if not self._bound or active != self._selected:
            self._unbind()
            self._selected = active
            self._bind(self._viewer)
            if active in current.present():
                self._bind(active)
        providers = self._find_providers()
        if providers != self._providers:
            self._providers = providers
            for name in tuple(get_settings().shortcuts.shortcuts):
                self._take(name)
        self._help.replace(active)

    def _bind(self, provider: Any) -> None:
        for key, action in self._actions.items():
            self._bound.append((provider, key, provider.bind_key(key, action, overwrite=True)))

    def _unbind(self) -> None:
        for provider, key, before in self._bound:
            provider.bind_key(key, before, overwrite=True)
        self._bound.clear()

    def _release(self) -> None:
        """Give all keys back to napari."""
        self._unbind()
        self._help.restore()
        self._providers = set()
        taken, self._taken = self._taken, {}
        for name, keys in taken.items():
            _set_keys(name, [*keys, *(action_manager.unbind_shortcut(name) or ())])

    def _take(self, name: str) -> None:
        """Take the keys from an action of napari, if one of the classes has it."""
        if not any(_is_bound(name, provider, self._actions) for provider in self._providers):
            return
        keys = action_manager.unbind_shortcut(name) or []
        taken = self._taken.setdefault(name, [])
        taken += [key for key in keys if str(key) in self._actions and key not in taken]
        _set_keys(name, [key for key in keys if str(key) not in self._actions])

    def _find_providers(self) -> set[type]:
        """Return the classes with key bindings of the viewer and the layers of the cube."""
        current = self._layers.current
        layers = [] if current is None else current.present()
        return {
            provider
            for each in (self._viewer, *layers)
            for provider in each.__class__.__mro__  # `type` is that of napari's proxy
            if "class_keymap" in vars(provider)
        }

    def _on_shortcut(self, event: Any) -> None:
        """Take a key again that napari's preferences have bound."""
        if self._bound and str(event.shortcut) in self._actions:
            self._take(event.name)

    def _on_settings(self, event: Any = None) -> None:
        """Keep the keys that are taken in the settings: they are taken for this window only.

        When one shortcut is edited, napari's preferences store all that are bound at that time.
        """
        settings = get_settings().shortcuts
        stored = settings.shortcuts
        lost = {
            name: [*keys, *(key for key in stored.get(name, ()) if key not in keys)]
            for name, keys in self._taken.items()
            if any(key not in stored.get(name, ()) for key in keys)
        }
        if lost:
            settings.shortcuts = {**stored, **lost}


class _LayerHelp:
    """Replaces napari's help on the keys of one layer at a time."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._layer: Layer | None = None
        self._before = ""  # the newest help of napari on the layer
        self._connections = Connections()

    def replace(self, layer: Layer | None) -> None:
        """Replace the help on a layer, and restore that on the layer before."""
        if layer == self._layer:
            return
        self.restore()
        self._layer = layer
        if layer is not None:
            self._on_help()
            self._connections.connect(layer.events.help, self._on_help)
            self._viewer.help = layer.help

    def restore(self) -> None:
        """Restore the help of napari."""
        self._connections.close()
        if self._layer is not None:
            self._layer.help = self._before
            if self._layer == self._viewer.layers.selection.active:
                self._viewer.help = self._before
        self._layer = None

    def _on_help(self, event: Any = None) -> None:
        if self._layer is not None and self._layer.help != HELP:
            self._before = self._layer.help
            self._layer.help = HELP


def _is_bound(name: str, provider: Any, keys: dict[str, Any]) -> bool:
    """Return whether an action is bound to one of the keys in all instances of a class."""
    bound = (function for key, function in provider.class_keymap.items() if str(key) in keys)
    return any(f"napari:{getattr(function, '__name__', '')}" == name for function in bound)


def _set_keys(name: str, keys: list[Any]) -> None:
    """Bind an action of napari to keys, in this order."""
    for key in keys:
        action_manager.bind_shortcut(name, key)
