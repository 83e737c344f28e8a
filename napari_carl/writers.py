"""Writer of label maps for napari."""

from __future__ import annotations

from typing import Any

import numpy as np

from carl.io import LabelClass
from carl.io import write_labels as write_label_map
from napari_carl.layer_data import METADATA_KEY, finest


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer as .tif or .png, with the names of its classes, if any, as JSON.

    Args:
        path: file to write; the suffix selects the format.
        data: (H, W) labels, or a list of them from fine to coarse.
        attributes: of the layer; ``metadata["carl"]["classes"]`` holds its classes.

    Returns:
        the files written.

    Raises:
        CarlError: the data are not a label map, or the file cannot be written.
    """
    entry = attributes.get("metadata", {}).get(METADATA_KEY, {})
    classes: tuple[LabelClass, ...] = tuple(entry.get("classes", ()))
    written = write_label_map(path, np.asarray(finest(data)), classes)
    return [str(written)]
