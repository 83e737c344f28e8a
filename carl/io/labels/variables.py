"""Label maps that are one array of a file with several, such as a cube and its labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from carl.errors import LabelError
from carl.io.assembly import LABEL_NAME
from carl.io.formats import read_contents
from carl.io.labels.label_format import StoredLabels
from carl.io.size_limits import check_pixels

SUFFIXES = (".npz", ".mat", ".h5", ".hdf5", ".he5", ".nc")
"""Suffixes of files that may hold a cube and label maps."""


def read_variable(path: Path, name: str | None) -> StoredLabels:
    """Read an array of a file with several, by default the only one named like labels.

    Raises:
        LabelError: the array is no label map, or it is not clear which array is meant.
    """
    if name is None:
        name = _only_labels(path)
    contents = read_contents(path, name)
    shape = tuple(n for n in contents.data.shape if n != 1)
    if len(shape) > 2:
        raise LabelError(
            f"{name} in {path.name} has the shape {contents.data.shape}: a label map has one whole "
            "number per pixel."
        )
    check_pixels(path, math.prod(shape), LabelError)
    return StoredLabels(np.asarray(contents.data[...]))


def _only_labels(path: Path) -> str:
    found = [
        each.name
        for each in read_contents(path).others
        if len(each.shape) == 2 and LABEL_NAME.search(each.name)
    ]
    if len(found) != 1:
        held = f"several: {', '.join(found)}" if found else "none by its name"
        raise LabelError(
            f"{path.name} is not a label map but may hold one, and holds {held}: name the array "
            "(variable=, --labels-variable)."
        )
    return found[0]
