"""The layers of a viewer kept in step with a session; the only module that names layer classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from psygnal import Signal

from carl.cube import SpectralCube
from napari_carl.computations import Picture
from napari_carl.display import DisplayMode
from napari_carl.layer_data import (
    METADATA_KEY,
    LayerData,
    centre_of,
    finest,
    is_large,
    levelled,
)
from napari_carl.session import Session

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from carl.io import LabelClass

MAP_OPACITY = 0.5
STROKE_OPACITY = 0.9
BRUSH_SIZE = 8


@dataclass(eq=False)
class CubeLayers:
    """The layers that belong to one cube, the lowest first; None where there is none yet."""

    cube: SpectralCube
    image: Image
    picture: Image | None = None
    embedding: Image | None = None
    map: Labels | None = None
    strokes: Labels | None = None

    DERIVED = ("picture", "embedding", "map", "strokes")

    def pictures(self) -> list[Image]:
        """The layers that hide the bands when they are visible."""
        return [layer for layer in (self.picture, self.embedding) if layer is not None]

    def present(self) -> list[Layer]:
        """The layers that are there, the lowest first."""
        derived = (getattr(self, name) for name in self.DERIVED)
        return [self.image, *(layer for layer in derived if layer is not None)]


class ViewerLayers:
    """Shows a session in a viewer, and tells the session which cubes come and go there."""

    cube_taken_in = Signal()  # a cube has come, maybe among other layers yet to come
    shown_changed = Signal()  # another picture of the current cube lies on top
    strokes_replaced = Signal()  # the current cube's strokes are in another layer, or in none

    def __init__(self, viewer: Viewer, session: Session) -> None:
        self._viewer = viewer
        self._session = session
        self._known: list[CubeLayers] = []
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        session.opened.connect(self._on_opened)
        session.cube_replaced.connect(self._on_replaced)
        session.cube_changed.connect(self._on_cube)
        session.display_mode_changed.connect(self._on_display_mode)
        session.picture_changed.connect(self._on_picture)
        session.segmentation_changed.connect(self._on_segmentation)
        session.segmentation_refined.connect(self._on_segmentation)
        session.classes.changed.connect(self._on_classes)

    def take_in_present(self) -> None:
        """Take in the cubes that were in the viewer before."""
        for layer in tuple(self._viewer.layers):
            self._take_in(layer)

    def close(self) -> None:
        """Let go of the viewer; its layers stay as they are."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
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

    @property
    def shown(self) -> DisplayMode:
        """What is seen of the current cube: layers can be hidden by hand, too."""
        layers, view = self.current, self._session.display_mode
        if layers is None or not any(picture.visible for picture in layers.pictures()):
            return DisplayMode.SINGLE_BAND
        if layers.embedding is not None and layers.embedding.visible:
            return DisplayMode.EMBEDDING
        return (
            DisplayMode.THREE_BANDS if view is DisplayMode.THREE_BANDS else DisplayMode.TRUE_COLOUR
        )

    def _of(self, cube: SpectralCube | None) -> CubeLayers | None:
        return next((layers for layers in self._known if layers.cube is cube), None)

    # ---- cubes

    def _on_inserted(self, event: Any) -> None:
        self._take_in(event.value)

    def _take_in(self, layer: Layer) -> None:
        entry = layer.metadata.get(METADATA_KEY, {})
        cube, pictured = entry.get("cube"), self._of(entry.get("picture_of"))
        if cube is not None and self._of(cube) is None:
            layer.axis_labels = ("band", *layer.axis_labels[1:])
            self._known.append(CubeLayers(cube, layer))
            self._session.add_cube(cube)
            self.cube_taken_in.emit()
        elif pictured is not None and pictured.picture is None:
            self._set_picture(pictured, "picture", layer)
            self._stack(pictured)
            complete = layer.data.shape[:2] == pictured.cube.shape[:2]
            if (
                complete
                and pictured is self.current
                and self._session.display_mode is DisplayMode.TRUE_COLOUR
            ):
                self._session.set_picture(Picture(layer.name, finest(layer.data)))
        elif "classes" in entry and not self._session.counts:
            layer.colormap = class_colormap(entry["classes"])
            self._session.classes.replace(entry["classes"])

    def _on_removed(self, event: Any) -> None:
        for layers in tuple(self._known):
            if event.value is layers.image:
                self._known.remove(layers)
                self._session.remove_cube(layers.cube)
            for name in CubeLayers.DERIVED:
                if event.value is getattr(layers, name):
                    setattr(layers, name, None)
                    if name == "strokes" and layers is self.current:
                        self.strokes_replaced.emit()

    def _on_opened(self, layer: LayerData) -> None:
        self._viewer.add_layer(Layer.create(*layer))

    def _on_replaced(self, before: SpectralCube, after: SpectralCube) -> None:
        layers = self._of(before)
        if layers is not None:
            layers.cube = after
            layers.image.metadata = {**layers.image.metadata, METADATA_KEY: {"cube": after}}

    def _on_cube(self) -> None:
        for known in self._known:
            for layer in known.present():
                layer.visible = known is self.current
        if self.current is not None:
            self.require_strokes()
        self._on_display_mode()
        self.strokes_replaced.emit()

    # ---- strokes

    def require_strokes(self) -> Labels | None:
        """The layer with the strokes on the current cube, made if need be and made active."""
        layers = self.current
        if layers is None:
            return None
        if layers.strokes is None:
            nothing = np.zeros(layers.cube.shape[:2], np.uint8)
            layers.strokes = self._new_labels(layers, "strokes", nothing, STROKE_OPACITY)
            layers.strokes.brush_size = BRUSH_SIZE
            self._place(layers, layers.strokes)
            self.strokes_replaced.emit()
        self._viewer.layers.selection.active = layers.strokes
        return layers.strokes

    def _on_classes(self) -> None:
        for layers in self._known:
            for labels in (layers.map, layers.strokes):
                if labels is not None:
                    labels.colormap = class_colormap(self._session.classes)
                    labels.metadata = self._class_metadata()

    def _new_labels(self, layers: CubeLayers, what: str, data: Any, opacity: float) -> Labels:
        return Labels(
            data,
            name=f"{layers.cube.name} {what}",
            colormap=class_colormap(self._session.classes),
            opacity=opacity,
            metadata=self._class_metadata(),
            **placed_like(layers.image),
        )

    def _class_metadata(self) -> dict[str, Any]:
        """What the writer of labels needs to name the classes."""
        return {METADATA_KEY: {"classes": tuple(self._session.classes)}}

    # ---- pictures and map

    def _on_display_mode(self) -> None:
        """Let the layers of the chosen view be seen, and not the others that would hide them."""
        layers, view = self.current, self._session.display_mode
        if layers is not None:
            layers.image.visible = True
            if layers.picture is not None:
                layers.picture.visible = view in (DisplayMode.TRUE_COLOUR, DisplayMode.THREE_BANDS)
            if layers.embedding is not None:
                layers.embedding.visible = view is DisplayMode.EMBEDDING
        self.shown_changed.emit()

    def _on_picture(self) -> None:
        layers, picture = self.current, self._session.picture
        if layers is None or picture is None:
            return
        slot = "embedding" if self._session.display_mode is DisplayMode.EMBEDDING else "picture"
        layer = getattr(layers, slot)
        if layer is None:
            name = "embedding" if slot == "embedding" else "colour"
            layer = Image(
                levelled(picture.pixels, layers.cube),
                rgb=True,
                multiscale=is_large(layers.cube),
                name=f"{layers.cube.name} {name}",
                **placed_like(layers.image, picture.step),
            )
            self._set_picture(layers, slot, layer)
            self._place(layers, layer)
        elif finest(layer.data) is not picture.pixels:
            layer.data = levelled(picture.pixels, layers.cube)
            for name, value in placed_like(layers.image, picture.step).items():
                if not np.array_equal(getattr(layer, name), value):  # each draws the layer anew
                    setattr(layer, name, value)
        self._on_display_mode()

    def _set_picture(self, layers: CubeLayers, slot: str, layer: Image) -> None:
        setattr(layers, slot, layer)
        layer.events.visible.connect(self._on_visible)

    def _on_visible(self, event: Any = None) -> None:
        self.shown_changed.emit()

    def _on_segmentation(self) -> None:
        layers, learned = self.current, self._session.segmentation
        if layers is None or learned is None:
            return
        labels, shown = learned.labels, layers.map
        if shown is None:
            data = levelled(labels.copy(), layers.cube)
            layers.map = self._new_labels(layers, "map", data, MAP_OPACITY)
            layers.map.editable = False
            self._place(layers, layers.map)
        elif (shown.data.shape, shown.data.dtype) == (labels.shape, labels.dtype):
            # In place: nothing flickers, and it is much quicker.
            np.copyto(finest(shown.data), labels)
            shown.refresh(extent=False)
        else:
            shown.data = levelled(labels.copy(), layers.cube)

    def _place(self, layers: CubeLayers, layer: Layer) -> None:
        """Add a layer above those of its cube that belong below it; the selection stays."""
        present = layers.present()
        below = present[present.index(layer) - 1]
        selected = self._viewer.layers.selection.active
        self._viewer.layers.insert(self._viewer.layers.index(below) + 1, layer)
        self._viewer.layers.selection.active = selected

    def _stack(self, layers: CubeLayers) -> None:
        """Put the layers of a cube one on the other in their order."""
        all_layers = self._viewer.layers
        for below, above in pairwise(layers.present()):
            if all_layers.index(above) < all_layers.index(below):
                all_layers.move(all_layers.index(above), all_layers.index(below) + 1)


def class_colormap(classes: Iterable[LabelClass]) -> DirectLabelColormap:
    """Each class in its colour, everything else transparent."""
    colours: dict[int | None, NDArray[np.float32]] = {
        known.value: (np.array([*known.colour, 255]) / 255).astype(np.float32) for known in classes
    }
    clear = np.zeros(4, np.float32)
    return DirectLabelColormap(color_dict={None: clear, 0: clear, **colours})


def placed_like(image: Image, step: int = 1) -> dict[str, Any]:
    """Where a (height, width) layer has to lie to cover a cube's.

    Args:
        image: the layer of the cube.
        step: pixels of the cube along a side of one of the layer.
    """
    scale = np.asarray(image.scale[-2:])
    return {
        "scale": scale * step,
        "translate": image.translate[-2:] + scale * centre_of(step),
        "units": image.units[-2:],
    }
