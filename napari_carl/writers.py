"""Writer of label maps for napari."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from carl.errors import LabelError, OutputError
from carl.io import LabelClass, read_classes
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
        CarlError: the data are not a label map, or the file cannot be written, or a JSON file of
            that name holds something else than the names of these classes.
    """
    entry = attributes.get("metadata", {}).get(METADATA_KEY, {})
    classes: tuple[LabelClass, ...] = tuple(entry.get("classes", ()))
    if classes:
        _check_names(Path(path), classes)
    written = write_label_map(path, np.asarray(finest(data)), classes)
    return [str(written)]


def _check_names(path: Path, classes: tuple[LabelClass, ...]) -> None:
    """Check that writing the names of classes beside a label map loses nothing.

    napari has asked whether the label map may be replaced, but not about the JSON file.

    Raises:
        OutputError: the JSON file has other contents that do not belong to the label map.
    """
    beside = path.with_suffix(".json")
    if not os.path.lexists(beside):
        return
    try:
        names = read_classes(path)
    except LabelError:
        names = ()
    if names != classes and not (names and path.exists()):
        raise OutputError(
            f"{beside.name} exists and would be replaced by the names of the classes: choose "
            "another name for the label map, or move that file."
        )
