"""Label images of OME-Zarr (OME-NGFF 0.4 and 0.5), with the names and colours of their classes.

A label image is a Zarr folder whose attributes have ``image-label``, in the folder ``labels`` of an
image or by itself. Names are in ``properties``, colours in ``colors``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import read_json
from carl.io.axes import arrange
from carl.io.georeference import pixel_size_in
from carl.io.labels.label_format import LabelFormat, Shape, StoredLabels, check_value, read_colour
from carl.io.labels.label_map import LabelClass, LabelMap, default_colour
from carl.io.size_limits import check_decoded_size, check_pixels
from carl.io.zarr_files import is_zarr, open_arrays, read_pixels

_CHUNK_SIDE = 1024
"""Rows and columns of a chunk that is written."""


def read(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read the full resolution of a label image, or of the only one in a folder ``labels``.

    Raises:
        LabelError: there are several label images, or several times or depths in one.
    """
    attributes = _attributes(path)
    if "labels" in attributes and "image-label" not in attributes:
        names = [str(name) for name in attributes["labels"]]
        if len(names) != 1:
            raise LabelError(
                f"{path.name} holds the label images {', '.join(names) or 'of none'}: open the "
                "folder of one of them."
            )
        if len(Path(names[0]).parts) != 1 or names[0] == "..":
            raise LabelError(f"{path.name} refers to a label image outside of it: it is damaged.")
        path = path / names[0]
        attributes = _attributes(path)
    arrays = [each for each in open_arrays(path).values() if each.image]
    if len(arrays) != 1:
        raise LabelError(f"{path.name} describes {len(arrays)} images, not one: it is damaged.")
    array = arrays[0].array
    n_pixels = int(np.prod(array.shape, dtype=object))
    check_pixels(path, n_pixels, LabelError)
    n_bytes = n_pixels * array.dtype.itemsize
    check_decoded_size(path, n_bytes, n_bytes, error_type=LabelError)
    pixels, _, frames = arrange(read_pixels(array, path), arrays[0].names, path)
    if frames:
        axis, length = next(each for each in zip(frames, pixels.shape, strict=True) if each[1] > 1)
        raise LabelError(
            f"{path.name} holds several frames, along {axis} of length {length}: give one."
        )
    values = np.asarray(pixels[...])
    if values.ndim == 3:  # one channel
        values = values.squeeze(tuple(axis for axis in (0, 2) if values.shape[axis] == 1)[:1])
    return StoredLabels(values, _classes(attributes.get("image-label"), path))


def write(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write a label image of version 0.4, by itself."""
    import zarr

    labels = label_map.labels
    size = None if cube is None else pixel_size_in(cube, "µm")
    space = {"type": "space"} if size is None else {"type": "space", "unit": "micrometer"}
    transformation = {"type": "scale", "scale": list(size or (1.0, 1.0))}
    image: dict[str, Any] = {
        "version": "0.4",
        "axes": [{"name": "y", **space}, {"name": "x", **space}],
        "datasets": [{"path": "0", "coordinateTransformations": [transformation]}],
    }
    described: dict[str, Any] = {
        "version": "0.4",
        "colors": [
            {"label-value": each.value, "rgba": [*each.colour, 255]} for each in label_map.classes
        ],
        "properties": [
            {"label-value": each.value, "name": each.name} for each in label_map.classes
        ],
    }
    group = zarr.open_group(path, mode="w", zarr_format=2)
    chunks = tuple(min(length, _CHUNK_SIDE) for length in labels.shape)
    group.create_array("0", data=labels, chunks=chunks)
    group.attrs.update({"multiscales": [image], "image-label": described})


def is_label_image(path: Path) -> bool:
    """Return whether a Zarr folder is a label image, or a folder ``labels`` of them."""
    if not is_zarr(path):
        return False
    try:
        attributes = _attributes(path)
    except (OSError, ValueError):
        return False
    return "image-label" in attributes or isinstance(attributes.get("labels"), list)


def _attributes(path: Path) -> Mapping[str, Any]:
    """Return the attributes of a group, without the level that version 0.5 adds."""
    if os.path.isfile(path / "zarr.json"):
        content = read_json(path / "zarr.json")
        attributes = content.get("attributes") if isinstance(content, dict) else None
        attributes = attributes.get("ome") if isinstance(attributes, dict) else None
    else:
        is_described = os.path.isfile(path / ".zattrs")
        attributes = read_json(path / ".zattrs") if is_described else None
    return attributes if isinstance(attributes, dict) else {}


def _classes(described: Any, path: Path) -> tuple[LabelClass, ...]:
    """Return the classes that have a name or a colour."""
    if not isinstance(described, dict):
        return ()
    colours: dict[int, Any] = {}
    names: dict[int, str] = {}
    for entry in described.get("colors") or ():
        value, rgba = _value(entry, path), entry.get("rgba")
        colours[value] = read_colour(rgba[:3]) if isinstance(rgba, list) else None
    for entry in described.get("properties") or ():
        value = _value(entry, path)
        if isinstance(entry.get("name"), str):
            names[value] = entry["name"]
    return tuple(
        LabelClass(
            value, names.get(value, f"class {value}"), colours.get(value) or default_colour(value)
        )
        for value in sorted(colours | names)
        if value
    )


def _value(entry: Any, path: Path) -> int:
    """Return the value of an entry, which may be 0 for the background."""
    value = entry.get("label-value") if isinstance(entry, dict) else None
    if not isinstance(value, int):
        raise LabelError(f"{path.name} lists a class without a value: it is damaged.")
    return value and check_value(path, value)


OME_ZARR = LabelFormat("OME-Zarr", (".zarr", ""), (".zarr",), read, write, sniff=is_label_image)
