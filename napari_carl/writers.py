"""Writers of label maps and cubes for napari."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from carl.cube import SpectralCube
from carl.errors import CubeError, LabelError, OutputError
from carl.io import LabelClass, find_writer, read_classes, write_cube
from carl.io import write_labels as write_label_map
from napari_carl.layer_data import METADATA_KEY, finest


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a Labels layer with the names and colours of its classes, if it has any.

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
    target = Path(path)
    if classes and not find_writer(target).lists_classes:
        _check_names(target, classes)
    _check_unasked(target)
    written = write_label_map(path, np.asarray(finest(data)), classes)
    return [str(written)]


def write_bands(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write the cube of an Image layer as ENVI.

    Args:
        path: header to write.
        data: pixels of the layer; those of its cube are written.
        attributes: of the layer; ``metadata["carl"]["cube"]`` is its cube.

    Returns:
        the files written.

    Raises:
        CarlError: the layer is not that of a cube, or the files cannot be written.
    """
    cube = attributes.get("metadata", {}).get(METADATA_KEY, {}).get("cube")
    if not isinstance(cube, SpectralCube):
        raise CubeError(
            f"'{attributes.get('name')}' is no spectral cube: use it as a cube first (menu Layers)."
        )
    _check_unasked(Path(path))
    return [str(each) for each in write_cube(path, cube)]


def _check_unasked(path: Path) -> None:
    """Check that no file beside a header is replaced that napari has not asked about.

    Raises:
        OutputError: there is a data file without this header.
    """
    beside = path.with_suffix(".dat")
    if path.suffix.lower() == ".hdr" and beside.exists() and not path.exists():
        raise OutputError(f"{beside.name} exists and would be replaced: choose another name.")


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
