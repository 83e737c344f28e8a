"""GeoJSON polygons with class names and colours, as QuPath reads and writes them.

A feature is a connected region: ``properties`` has ``objectType`` "annotation" and
``classification`` with ``name`` and ``color``. Coordinates are in pixels from the upper left corner
of the image. The format has no room for the size of the image and for classes without pixels;
these are in the member ``label_map``, which other programs ignore.

Sources: RFC 7946; QuPath's documentation, "Exporting annotations".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import read_json
from carl.io.labels.class_list import class_from_json, class_to_json
from carl.io.labels.label_format import (
    LabelFormat,
    Shape,
    StoredLabels,
    check_size,
    check_value,
    read_colour,
)
from carl.io.labels.label_map import LabelClass, LabelMap, default_colour
from carl.io.labels.outlines import Canvas, trace_regions

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file of shapes, with about five million corners: parsed, it takes 2 GB of memory."""
_MAX_COORDINATE = 1e9
"""Largest distance of a corner from the image, in pixels."""
_SNIFFED_BYTES = 1 << 16
_UNCLASSIFIED = "unclassified"
"""Name of the class of annotations that have none."""


def sniff(path: Path) -> bool:
    """Return whether a JSON file holds GeoJSON features, by its first bytes."""
    if path.suffix.lower() == ".geojson":
        return True
    with path.open("rb") as file:
        return b'"Feature' in file.read(_SNIFFED_BYTES)


def read(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read polygons and fill the pixels whose centres they contain.

    Raises:
        LabelError: the file is no GeoJSON, has no size and none is given, or a shape is no polygon
            near the image.
    """
    content = read_json(path, MAX_JSON_BYTES)
    features = _features(content, path)
    about = content.get("label_map") if isinstance(content, Mapping) else None
    about = about if isinstance(about, Mapping) else {}
    stated = _stated_size(about)
    size = stated or shape
    if size is None:
        raise LabelError(
            f"{path.name} does not state the size of its image: open its cube first, or give the "
            "size of the cube."
        )
    check_size(path, size, shape)
    classes = {each.name: each for each in map(class_from_json, about.get("classes", ()))}
    canvas = Canvas(path, size)
    canvas.fill_polygons(
        (_class_of(feature, classes, path).value, rings)
        for feature in features
        for rings in _polygons(feature.get("geometry"), path)
    )
    return StoredLabels(canvas.labels, tuple(classes.values()))


def write(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write a polygon for each connected region."""
    classes = {each.value: each for each in label_map.classes}
    height, width = label_map.labels.shape
    content = {
        "type": "FeatureCollection",
        "label_map": {
            "height": height,
            "width": width,
            "classes": [class_to_json(each) for each in label_map.classes],
        },
        "features": [
            {
                "type": "Feature",
                "geometry": {
                    "type": "Polygon",
                    "coordinates": region.rings,
                },
                "properties": {
                    "objectType": "annotation",
                    "classification": {
                        "name": classes[region.value].name,
                        "color": list(classes[region.value].colour),
                    },
                },
            }
            for region in trace_regions(label_map.labels)
        ],
    }
    write_json(path, content)


def write_json(path: Path, content: Any) -> None:
    """Write the shapes of a label map as JSON.

    Raises:
        LabelError: there are more than can be read again.
    """
    encoded = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    if len(encoded) > MAX_JSON_BYTES:
        raise LabelError(
            f"{path.name} would be larger than {MAX_JSON_BYTES >> 20} MB, because the labels have "
            "too many small regions for shapes: choose a format with pixels, such as TIFF."
        )
    path.write_bytes(encoded)


def _features(content: Any, path: Path) -> list[Mapping[str, Any]]:
    """Return the features of a collection, a list or a single feature."""
    listed = content
    if isinstance(content, Mapping):
        listed = [content] if content.get("type") == "Feature" else content.get("features")
    if not isinstance(listed, list) or not all(isinstance(each, Mapping) for each in listed):
        raise LabelError(f"{path.name} has no GeoJSON features: it is another kind of file.")
    return listed


def _stated_size(about: Mapping[str, Any]) -> Shape | None:
    height, width = about.get("height"), about.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _class_of(feature: Mapping[str, Any], classes: dict[str, LabelClass], path: Path) -> LabelClass:
    """Return the class of a feature; a new name is added to the classes with the next value."""
    properties = feature.get("properties")
    stored = properties.get("classification") if isinstance(properties, Mapping) else None
    stored = stored if isinstance(stored, Mapping) else {}
    names = stored.get("names")
    name = stored.get("name") or (
        ": ".join(map(str, names)) if isinstance(names, list) else _UNCLASSIFIED
    )
    name = str(name)
    if name not in classes:
        value = check_value(path, 1 + max((each.value for each in classes.values()), default=0))
        colour = read_colour(stored.get("color")) or default_colour(value)
        classes[name] = LabelClass(value, name, colour)
    return classes[name]


def _polygons(geometry: Any, path: Path) -> Iterator[list[Float64Array]]:
    """Yield the rings of the polygons of a geometry."""
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    if kind == "Polygon":
        yield [_ring(ring, path) for ring in geometry["coordinates"]]
    elif kind == "MultiPolygon":
        for polygon in geometry["coordinates"]:
            yield [_ring(ring, path) for ring in polygon]
    else:
        raise LabelError(
            f"{path.name} has a shape of the type {str(kind)[:20]}: labels are areas, so export "
            "polygons only."
        )


def _ring(corners: Sequence[Any], path: Path) -> Float64Array:
    """Return the (N, 2) corners of a closed line from a list of positions."""
    return flat_ring([number for corner in corners for number in (corner[0], corner[1])], path)


def flat_ring(coordinates: Sequence[Any], path: Path) -> Float64Array:
    """Return the (N, 2) corners of a closed line from x and y of each in turns.

    Raises:
        LabelError: a corner is far from any image, or not a number.
    """
    ring = np.array(coordinates, np.float64).reshape(-1, 2)
    if not np.all(np.abs(ring) <= _MAX_COORDINATE):
        raise LabelError(
            f"{path.name} has corners that are not within {_MAX_COORDINATE:.0e} pixels of the "
            "image: it is damaged, or its coordinates are not in pixels."
        )
    return ring


GEOJSON = LabelFormat("GeoJSON", (".geojson", ".json"), (".geojson",), read, write, sniff=sniff)
