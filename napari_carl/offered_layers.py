"""The selected layer of a viewer, passed to the offers if it is not one of a cube."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from carl.io import LabelClass
from napari_carl.connections import Connections
from napari_carl.foreign_labels import ForeignLabels
from napari_carl.image_stacks import ImageStack, find_band_axis
from napari_carl.layer_data import METADATA_KEY, finest
from napari_carl.layers import ViewerLayers, layer_kind
from napari_carl.offers import Offers
from napari_carl.session import Session

if TYPE_CHECKING:
    from napari.viewer import Viewer

_NAME_COLUMNS = ("class", "name", "label")
"""Columns with the names of labels in the table of features of a layer, the preferred one first."""


class OfferedLayers:
    """Passes the selected layer to the offers, and reports edits of the true labels.

    Layers are compared by ``==``: napari hands a plugin proxies, which are new objects each time.
    """

    def __init__(
        self,
        viewer: Viewer,
        session: Session,
        layers: ViewerLayers,
        offers: Offers,
        connections: Connections,
    ) -> None:
        self._viewer = viewer
        self._layers = layers
        self._offers = offers
        self._truth_connections = Connections()
        self._truth_layer: Any = None
        for signal, slot in (
            (viewer.layers.selection.events.active, self._on_selected),
            (viewer.layers.events.removed, self._on_removed),
            (viewer.layers.events.renamed, self._on_renamed),
            (session.cube_changed, self._on_selected),
            (offers.truth.changed, self._follow_truth),
            (offers.strokes_added, self._on_strokes_added),
            (offers.cube_opened, self._on_cube_opened),
        ):
            connections.connect(signal, slot)
        connections.callback(self._truth_connections.close)
        self._on_selected()

    def _on_selected(self, event: Any = None) -> None:
        layer = self._viewer.layers.selection.active
        if layer is None or self._layers.shows_cube(layer):
            self._offers.select_nothing()
        elif layer_kind(layer) == "labels":
            self._offers.select_labels(labels_of(layer))
        elif (image := image_of(layer)) is not None:
            self._offers.select_image(image, layer)
        else:
            self._offers.select_nothing()

    def _on_removed(self, event: Any) -> None:
        if self._truth_layer is not None and event.value == self._truth_layer:
            self._offers.truth.remove()

    def _on_renamed(self, event: Any = None) -> None:
        self._on_selected()
        self._on_truth_edited()

    def _on_strokes_added(self, layer: Any) -> None:
        """Show the strokes: the labels they come from would cover them."""
        layer.visible = False
        self._layers.require_strokes()

    def _on_cube_opened(self, layer: Any) -> None:
        layer.visible = False

    def _follow_truth(self) -> None:
        layer = self._offers.truth.layer
        if layer is None or self._truth_layer is None or layer != self._truth_layer:
            self._truth_connections.close()
            self._truth_layer = layer
            if layer is not None:
                # Emitted for new data, strokes and their undo alike.
                self._truth_connections.connect(layer.events.set_data, self._on_truth_edited)

    def _on_truth_edited(self, event: Any = None) -> None:
        if self._truth_layer is not None:
            self._offers.truth.edit(labels_of(self._truth_layer))


def labels_of(layer: Any) -> ForeignLabels:
    """Return the labels in a layer, with the classes in its metadata or its features."""
    entry = layer.metadata.get(METADATA_KEY, {})
    classes = entry.get("classes") if isinstance(entry, dict) else None
    if classes is None:
        classes = _classes_of_features(layer)
    return ForeignLabels(layer, layer.name, finest(layer.data), tuple(classes))


def _classes_of_features(layer: Any) -> list[LabelClass]:
    features = layer.features
    column = next((each for each in _NAME_COLUMNS if each in features), None)
    if column is None or "index" not in features:
        return []
    named = zip(features["index"], features[column], strict=True)
    return [
        LabelClass(int(value), name.strip(), _colour_of(layer, int(value)))
        for value, name in named
        if value > 0 and isinstance(name, str) and name.strip()
    ]


def _colour_of(layer: Any, value: int) -> tuple[int, int, int]:
    colour = layer.get_color(value)
    red, green, blue = (round(255 * float(part)) for part in np.asarray(colour)[:3])
    return red, green, blue


def image_of(layer: Any) -> ImageStack | None:
    """Return the image in a layer if it may be a cube: three axes, one of them of bands."""
    if layer_kind(layer) != "image" or layer.rgb:
        return None
    data = finest(layer.data)
    path = None if layer.source.path is None else Path(layer.source.path)
    band_axis = find_band_axis(data.shape, path)
    if band_axis is None:
        return None
    return ImageStack(layer.name, data, band_axis, path, layer.metadata)
