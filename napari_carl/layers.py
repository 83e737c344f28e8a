"""Layers of a viewer, synchronised with a session; no other module names napari's layer classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal
from qtpy.QtCore import QTimer

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.layer_data import (
    METADATA_KEY,
    LayerData,
    centre_of,
    finest,
    is_large,
    pyramid,
)
from napari_carl.pictures import DisplayMode, Picture
from napari_carl.session import Session

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from carl.io import LabelClass

MAP_OPACITY = 0.5
STROKE_OPACITY = 0.9
BRUSH_SIZE = 8
"""Width of the brush on a new strokes layer, in pixels."""


@dataclass(eq=False)
class CubeLayers:
    """The layers of one cube, the lowest first; None if a layer does not exist yet."""

    cube: SpectralCube
    image: Image
    picture: Image | None = None
    embedding: Image | None = None
    map: Labels | None = None
    strokes: Labels | None = None

    DERIVED = ("picture", "embedding", "map", "strokes")

    def pictures(self) -> list[Image]:
        """Return the layers that hide the bands when they are visible."""
        return [layer for layer in (self.picture, self.embedding) if layer is not None]

    def present(self) -> list[Layer]:
        """Return the layers that exist, the lowest first."""
        derived = (getattr(self, name) for name in self.DERIVED)
        return [self.image, *(layer for layer in derived if layer is not None)]


class ViewerLayers:
    """Displays a session in a viewer, and reports cubes that are added or removed there."""

    cube_added = Signal()  # the file it comes from may add more layers after it
    shown_changed = Signal()  # another picture of the current cube is on top
    strokes_replaced = Signal()  # the strokes of the current cube are in another layer, or in none

    def __init__(self, viewer: Viewer, session: Session) -> None:
        self._viewer = viewer
        self._session = session
        self._known: list[CubeLayers] = []
        self._is_closed = False
        self._is_removing = False
        self._connections = Connections()
        for signal, slot in (
            (viewer.layers.events.inserted, self._on_inserted),
            (viewer.layers.events.removed, self._on_removed),
            (session.opened, self._on_opened),
            (session.cube_replaced, self._on_replaced),
            (session.cube_changed, self._on_cube),
            (session.display_mode_changed, self._on_display_mode),
            (session.picture_changed, self._on_picture),
            (session.segmentation_changed, self._on_segmentation),
            (session.segmentation_refined, self._on_segmentation),
            (session.classes_changed, self._on_classes),
            (session.strokes_changed, self._mark_map),
            (session.model_changed, self._mark_map),
            (session.jobs.changed, self._mark_map),
            (session.strokes_repainted, self._on_repainted),
        ):
            self._connections.connect(signal, slot)

    def add_present_cubes(self) -> None:
        """Add the cubes to the session that are already in the viewer."""
        for layer in tuple(self._viewer.layers):
            self._register(layer)

    def close(self) -> None:
        """Disconnect from the viewer; its layers stay, and are taken over by the next dock."""
        self._connections.close()
        self._is_closed = True
        for layers in self._known:
            for picture in layers.pictures():
                picture.events.visible.disconnect(self._on_visible)
        self._known.clear()

    @property
    def current(self) -> CubeLayers | None:
        """The layers of the current cube."""
        return self._of(self._session.cube)

    @property
    def strokes(self) -> Labels | None:
        """The layer with the strokes on the current cube."""
        return None if self.current is None else self.current.strokes

    def shows_cube(self, layer: Layer) -> bool:
        """Return whether a layer is one of those of a cube."""
        return any(layer in layers.present() for layers in self._known)

    @property
    def shown(self) -> DisplayMode:
        """What is visible of the current cube; the user may hide layers of the chosen mode."""
        layers, mode = self.current, self._session.display_mode
        if layers is None or not any(picture.visible for picture in layers.pictures()):
            return DisplayMode.SINGLE_BAND
        if layers.embedding is not None and layers.embedding.visible:
            return DisplayMode.EMBEDDING
        return mode if mode is DisplayMode.THREE_BANDS else DisplayMode.TRUE_COLOUR

    def _of(self, cube: SpectralCube | None) -> CubeLayers | None:
        return next((layers for layers in self._known if layers.cube is cube), None)

    # ---- cubes

    def _on_inserted(self, event: Any) -> None:
        self._register(event.value)

    def _register(self, layer: Layer) -> None:
        """Add the cube, the picture or the classes in the metadata of a layer to the session."""
        entry = layer.metadata.get(METADATA_KEY, {})
        cube, pictured = entry.get("cube"), self._of(entry.get("picture_of"))
        if cube is not None and self._of(cube) is None:
            layer.axis_labels = ("band", *layer.axis_labels[1:])
            layers = CubeLayers(cube, layer)
            self._known.append(layers)
            self._take_over(layers)
            self._session.add_cube(cube, entry.get("annotation"))
            self._store_metadata(layers)
            self.cube_added.emit()
        elif pictured is not None and pictured.picture is None:
            self._set_picture(pictured, "picture", layer)
            self._sort(pictured)
            pixels = finest(layer.data)
            is_wanted = (
                pictured is self.current
                and self._session.display_mode is DisplayMode.TRUE_COLOUR
                and pixels.shape[:2] == pictured.cube.shape[:2]
            )
            if is_wanted:
                self._session.set_picture(Picture(layer.name, pixels))
        elif "classes" in entry and not self.shows_cube(layer):
            layer.colormap = class_colormap(entry["classes"])
            cube = self._session.cube
            fits = cube is not None and finest(layer.data).shape == cube.shape[:2]
            if fits and self._session.annotation.is_blank:
                self._session.classes.replace(entry["classes"])

    def _take_over(self, layers: CubeLayers) -> None:
        """Find the layers of a cube that an earlier dock made in this viewer."""
        for layer in self._viewer.layers:
            entry = layer.metadata.get(METADATA_KEY, {})
            if entry.get("embedding_of") is layers.cube:
                self._set_picture(layers, "embedding", layer)
            for slot in ("map", "strokes"):
                if entry.get(f"{slot}_of") is layers.cube:
                    setattr(layers, slot, layer)

    def _store_metadata(self, layers: CubeLayers) -> None:
        """Store the cube of each layer, by which another dock recognises it, and the classes."""
        annotation = self._session.annotation_of(layers.cube)
        layers.image.metadata[METADATA_KEY] = {"cube": layers.cube, "annotation": annotation}
        for slot in CubeLayers.DERIVED:
            layer = getattr(layers, slot)
            if layer is not None:
                entry: dict[str, Any] = {f"{slot}_of": layers.cube}
                if slot in ("map", "strokes"):
                    entry["classes"] = tuple(annotation.classes)
                layer.metadata[METADATA_KEY] = entry

    def _on_removed(self, event: Any) -> None:
        removed = event.value
        for layers in tuple(self._known):
            for name in CubeLayers.DERIVED:
                if removed is getattr(layers, name):
                    setattr(layers, name, None)
                    if name in ("picture", "embedding"):
                        removed.events.visible.disconnect(self._on_visible)
                    if name == "strokes" and layers is self.current:
                        self.strokes_replaced.emit()
            if removed is layers.image:
                self._known.remove(layers)
                # napari may be removing several layers: change others when it has finished.
                self._is_removing = True
                self._session.remove_cube(layers.cube)
                self._is_removing = False
                QTimer.singleShot(0, partial(self._remove, layers.present()[1:]))

    def _remove(self, rest: Sequence[Layer]) -> None:
        if self._is_closed:
            return
        for layer in rest:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self.require_strokes()

    def _on_opened(self, layer: LayerData) -> None:
        self._viewer.add_layer(Layer.create(*layer))

    def _on_replaced(self, before: SpectralCube, after: SpectralCube) -> None:
        layers = self._of(before)
        if layers is not None:
            layers.cube = after
            self._store_metadata(layers)

    def _on_cube(self) -> None:
        for known in self._known:
            for layer in known.present():
                layer.visible = known is self.current
        if not self._is_removing:
            self.require_strokes()
        self._on_display_mode()
        self.strokes_replaced.emit()

    # ---- strokes

    def require_strokes(self) -> Labels | None:
        """Return the strokes layer of the current cube, created if needed, and make it active."""
        layers = self.current
        if layers is None:
            return None
        if layers.strokes is None:
            pixels = self._session.annotation_of(layers.cube).pixels
            layers.strokes = self._new_labels(layers, "strokes", pixels, STROKE_OPACITY)
            layers.strokes.brush_size = BRUSH_SIZE
            self._insert(layers, layers.strokes)
            self._store_metadata(layers)
            self.strokes_replaced.emit()
        self._viewer.layers.selection.active = layers.strokes
        return layers.strokes

    def _on_repainted(self) -> None:
        if self.strokes is not None:
            self.strokes.refresh()

    def _on_classes(self) -> None:
        layers = self.current
        if layers is None:
            return
        for labels in (layers.map, layers.strokes):
            if labels is not None:
                labels.colormap = class_colormap(self._session.classes)
        self._store_metadata(layers)

    def _new_labels(self, layers: CubeLayers, what: str, data: Any, opacity: float) -> Labels:
        return Labels(
            data,
            name=f"{layers.cube.name} {what}",
            colormap=class_colormap(self._session.annotation_of(layers.cube).classes),
            opacity=opacity,
            **placed_like(layers.image),
        )

    # ---- pictures and map

    def _on_display_mode(self) -> None:
        """Show the layers of the chosen display mode, and hide those that would cover them."""
        layers, mode = self.current, self._session.display_mode
        if layers is not None:
            layers.image.visible = True
            if layers.picture is not None:
                layers.picture.visible = mode in (DisplayMode.TRUE_COLOUR, DisplayMode.THREE_BANDS)
            if layers.embedding is not None:
                layers.embedding.visible = mode is DisplayMode.EMBEDDING
        self.shown_changed.emit()

    def _on_picture(self) -> None:
        layers, picture = self.current, self._session.picture
        if layers is None or picture is None:
            return
        is_embedding = self._session.display_mode is DisplayMode.EMBEDDING
        slot, name = ("embedding", "embedding") if is_embedding else ("picture", "colour")
        layer = getattr(layers, slot)
        if layer is None:
            layer = Image(
                pyramid(picture.pixels, layers.cube),
                rgb=True,
                multiscale=is_large(layers.cube),
                name=f"{layers.cube.name} {name}",
                **placed_like(layers.image, picture.step),
            )
            self._set_picture(layers, slot, layer)
            self._insert(layers, layer)
            self._store_metadata(layers)
        elif finest(layer.data) is not picture.pixels:
            layer.data = pyramid(picture.pixels, layers.cube)
            for name, value in placed_like(layers.image, picture.step).items():
                if not np.array_equal(getattr(layer, name), value):  # each change is a redraw
                    setattr(layer, name, value)
        self._on_display_mode()

    def _set_picture(self, layers: CubeLayers, slot: str, layer: Image) -> None:
        setattr(layers, slot, layer)
        layer.events.visible.connect(self._on_visible)

    def _on_visible(self, event: Any = None) -> None:
        self.shown_changed.emit()

    def _on_segmentation(self) -> None:
        layers, result = self.current, self._session.segmentation
        if layers is None:
            return
        labels, layer = None if result is None else result.labels, layers.map
        if labels is None:
            if layer is not None:  # there is nothing any more to segment from
                finest(layer.data)[:] = 0
                layer.refresh(extent=False)
        elif layer is None:
            data = pyramid(labels.copy(), layers.cube)
            layers.map = self._new_labels(layers, "map", data, MAP_OPACITY)
            layers.map.editable = False
            self._insert(layers, layers.map)
            self._store_metadata(layers)
        elif (layer.data.shape, layer.data.dtype) == (labels.shape, labels.dtype):
            # In place, which is faster than new data and does not flicker.
            np.copyto(finest(layer.data), labels)
            layer.refresh(extent=False)
        else:
            layer.data = pyramid(labels.copy(), layers.cube)
        self._mark_map()

    def _mark_map(self, job: JobKind | None = None) -> None:
        """Mark in the name of the map's layer whether the map is out of date."""
        layers = self.current
        is_relevant = job in (None, JobKind.PRECOMPUTING, JobKind.SEGMENTING)
        if layers is None or layers.map is None or not is_relevant:
            return
        name = f"{layers.cube.name} map"
        names = {False: name, True: f"{name} (out of date)"}
        marked = names[self._session.segmentation_is_outdated]
        if layers.map.name in names.values() and layers.map.name != marked:
            layers.map.name = marked

    def _insert(self, layers: CubeLayers, layer: Layer) -> None:
        """Insert a layer above the lower layers of its cube without changing the selection."""
        present = layers.present()
        below = present[present.index(layer) - 1]
        active = self._viewer.layers.selection.active
        self._viewer.layers.insert(self._viewer.layers.index(below) + 1, layer)
        self._viewer.layers.selection.active = active

    def _sort(self, layers: CubeLayers) -> None:
        """Sort the layers of a cube into their order."""
        all_layers = self._viewer.layers
        for below, above in pairwise(layers.present()):
            if all_layers.index(above) < all_layers.index(below):
                all_layers.move(all_layers.index(above), all_layers.index(below) + 1)


def layer_kind(layer: Layer) -> str:
    """Return "image" or "labels"; empty for layers of other types."""
    if isinstance(layer, Labels):
        return "labels"
    return "image" if isinstance(layer, Image) else ""


def class_colormap(classes: Iterable[LabelClass]) -> DirectLabelColormap:
    """Return a colormap with the colours of the classes; all other labels are transparent."""
    colours: dict[int | None, Float32Array] = {
        known.value: (np.array([*known.colour, 255]) / 255).astype(np.float32) for known in classes
    }
    transparent = np.zeros(4, np.float32)
    return DirectLabelColormap(color_dict={None: transparent, 0: transparent, **colours})


def placed_like(image: Image, step: int = 1) -> dict[str, Any]:
    """Return the transform of a (height, width) layer that covers the layer of a cube.

    Args:
        image: layer of the cube.
        step: pixels of the cube along a side of one pixel of the new layer.
    """
    scale = np.asarray(image.scale[-2:])
    return {
        "scale": scale * step,
        "translate": image.translate[-2:] + scale * centre_of(step),
        "units": image.units[-2:],
        "axis_labels": ("y", "x"),
    }
