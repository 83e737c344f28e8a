"""COCO annotations: a run-length encoded mask for each region, and a category for each class.

Runs alternate between outside and inside and go down the columns. The format has no standard for
colours; they are in ``color`` of the categories, as in the panoptic variant.

Source: the data format of the COCO challenge (cocodataset.org/#format-data).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import read_json
from carl.io.labels.geojson import MAX_JSON_BYTES, flat_ring, write_json
from carl.io.labels.label_format import (
    LabelFormat,
    Shape,
    StoredLabels,
    check_size,
    check_value,
    read_colour,
)
from carl.io.labels.label_map import LabelClass, LabelMap, default_colour
from carl.io.labels.outlines import Canvas

_SNIFFED_BYTES = 1 << 20


def sniff(path: Path) -> bool:
    """Return whether a JSON file holds COCO annotations, by its first megabyte."""
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    return b'"images"' in start and (b'"annotations"' in start or b'"categories"' in start)


def read(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read the annotations of the only image of a file.

    Raises:
        LabelError: the file is no COCO file, has several images, or a mask that is neither a list
            of runs nor polygons.
    """
    content = read_json(path, MAX_JSON_BYTES)
    images = content.get("images") if isinstance(content, Mapping) else None
    if not isinstance(images, list) or not isinstance(content.get("annotations"), list):
        raise LabelError(f"{path.name} has no COCO annotations: it is another kind of file.")
    if len(images) != 1:
        raise LabelError(
            f"{path.name} describes {len(images)} images: export the annotations of one image."
        )
    size = (int(images[0]["height"]), int(images[0]["width"]))
    check_size(path, size, shape)
    classes = {}
    for number, category in zip(count(1), content.get("categories", [])):
        value = check_value(path, int(category["id"]))
        name = str(category.get("name", f"class {number}"))
        colour = read_colour(category.get("color")) or default_colour(value)
        classes[value] = LabelClass(value, name, colour)
    canvas = Canvas(path, size, by_columns=True)
    for annotation in content["annotations"]:
        value = check_value(path, int(annotation["category_id"]))
        _fill(canvas, value, annotation.get("segmentation"), path)
    return StoredLabels(canvas.labels, tuple(classes.values()))


def write(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write an annotation for each connected region, whose pixels touch at sides or corners."""
    height, width = label_map.labels.shape
    name = path.name if cube is None else cube.name
    content = {
        "info": {"description": name, "date_created": datetime.now(UTC).date().isoformat()},
        "licenses": [],
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": [
            {"id": each.value, "name": each.name, "supercategory": "", "color": list(each.colour)}
            for each in label_map.classes
        ],
        "annotations": list(_annotations(label_map.labels)),
    }
    write_json(path, content)


def _annotations(labels: NDArray[Any]) -> Iterator[dict[str, Any]]:
    """Yield the annotation of each connected region."""
    from skimage.measure import label

    height, width = labels.shape
    components = np.asarray(label(labels, background=0, connectivity=2)).T.reshape(-1)
    values = labels.T.reshape(-1)
    pixels = np.flatnonzero(components)
    pixels = pixels[np.argsort(components[pixels], kind="stable")]
    if pixels.size == 0:
        return
    component = components[pixels]
    # A run ends where the next pixel is not below, and at the last pixel of a region.
    is_last = np.append((np.diff(pixels) != 1) | (np.diff(component) != 0), True)
    is_first = np.append(True, is_last[:-1])
    starts, stops = pixels[is_first].tolist(), (pixels[is_last] + 1).tolist()
    regions = np.flatnonzero(np.append(True, np.diff(component) != 0))
    columns, rows = np.divmod(pixels, height)
    box = [
        reduce.reduceat(positions, regions).tolist()
        for reduce in (np.minimum, np.maximum)
        for positions in (columns, rows)
    ]
    areas = np.diff(np.append(regions, pixels.size)).tolist()
    of_region = np.searchsorted(np.flatnonzero(is_first), [*regions, pixels.size]).tolist()
    for i, (left, top, right, bottom) in enumerate(zip(*box, strict=True)):
        runs = range(of_region[i], of_region[i + 1])
        yield {
            "id": i + 1,
            "image_id": 1,
            "category_id": int(values[pixels[regions[i]]]),
            "iscrowd": 0,
            "area": areas[i],
            "bbox": [left, top, right - left + 1, bottom - top + 1],
            "segmentation": {
                "size": [height, width],
                "counts": _counts([(starts[run], stops[run]) for run in runs], height * width),
            },
        }


def _counts(runs: Sequence[tuple[int, int]], n_pixels: int) -> list[int]:
    """Return the lengths of the runs outside and inside of a region, in turns."""
    edges = [0, *(edge for run in runs for edge in run)]
    if edges[-1] < n_pixels:
        edges.append(n_pixels)
    return [stop - start for start, stop in pairwise(edges)]


def _fill(canvas: Canvas, value: int, mask: Any, path: Path) -> None:
    """Fill the mask of one annotation: polygons, or runs down the columns."""
    height, width = canvas.labels.shape
    if isinstance(mask, list):
        canvas.fill_polygons([(value, [flat_ring(each, path)]) for each in mask])
        return
    counts = mask.get("counts") if isinstance(mask, Mapping) else None
    if isinstance(counts, str):
        raise LabelError(
            f"{path.name} has compressed masks: export polygons or uncompressed masks."
        )
    if not isinstance(counts, list) or mask.get("size") != [height, width]:
        raise LabelError(f"{path.name} has a mask without runs, or of another size: it is damaged.")
    if not all(isinstance(each, int) and each >= 0 for each in counts):
        raise LabelError(f"{path.name} has runs that are not whole numbers: it is damaged.")
    if sum(counts) > height * width:
        raise LabelError(f"{path.name} has a mask that is larger than its image: it is damaged.")
    canvas.fill_columns(value, counts)


COCO = LabelFormat("COCO", (".json",), (".json",), read, write, sniff=sniff)
