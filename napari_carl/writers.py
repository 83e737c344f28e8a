"""Labels out of napari."""

from __future__ import annotations

from typing import Any

import numpy as np

from carl.io import LabelClass
from carl.io import write_labels as write_label_map
from napari_carl.layer_data import METADATA_KEY, finest


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as .tif or .png, with the names of its classes beside it if it has some.

    Args:
        path: where to; the suffix chooses the format.
        data: (H, W) labels, or a list of them from fine to coarse.
        attributes: of the layer; ``metadata["carl"]["classes"]`` are its classes.

    Returns:
        The files written, as napari wants to know.

    Raises:
        CarlError: the data are no label map, or the file cannot be written.
    """
    entry = attributes.get("metadata", {}).get(METADATA_KEY, {})
    classes: tuple[LabelClass, ...] = tuple(entry.get("classes", ()))
    written = write_label_map(path, np.asarray(finest(data)), classes)
    return [str(written)]
