"""ENVI classifications: a header with names and colours of the classes beside their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.io import envi
from carl.io.georeference import envi_keys
from carl.io.labels.label_format import LabelFormat, Shape, StoredLabels
from carl.io.labels.label_map import LabelClass, LabelMap, default_colour

UNUSED = "unused"
"""Name in the list of classes for a value that no class has: the list has no gaps."""
_UNLABELLED = "unlabelled"
"""Name of the value 0."""


def read(path: Path, shape: Shape | None = None) -> StoredLabels:
    """Read a header, or a data file with its header beside it."""
    found = envi.read_classification(path)
    classes = (
        LabelClass(value, name, found.colours.get(value, default_colour(value)))
        for value, name in found.names.items()
        if name != UNUSED
    )
    return StoredLabels(np.asarray(found.labels[...]), tuple(classes))


def write(path: Path, label_map: LabelMap, cube: SpectralCube | None) -> None:
    """Write ``<stem>.hdr`` and, beside it, ``<stem>.dat``."""
    from spectral.io import envi as envi_headers

    labels = label_map.labels
    named = {each.value: each for each in label_map.classes}
    n_classes = 1 + max(named, default=0)
    names, colours = [_UNLABELLED], [0, 0, 0]
    for value in range(1, n_classes):
        known = named.get(value)
        names.append(UNUSED if known is None else _listable(known.name))
        colours += default_colour(value) if known is None else known.colour
    header: dict[str, Any] = {
        "samples": labels.shape[1],
        "lines": labels.shape[0],
        "bands": 1,
        "header offset": 0,
        "file type": "ENVI Classification",
        "data type": envi_headers.dtype_to_envi[labels.dtype.char],
        "interleave": "bsq",
        "byte order": 0,
        "classes": n_classes,
        "class lookup": colours,
        "class names": names,
        **envi_keys(cube),
    }
    stored = labels.astype(labels.dtype.newbyteorder("<"))
    stored.tofile(path.with_suffix(envi.WRITTEN_SUFFIX))
    envi_headers.write_envi_header(str(path), header)


def _listable(name: str) -> str:
    """Return a name without what separates the entries of a list in a header."""
    cleaned = " ".join(name.replace(",", ";").replace("{", "(").replace("}", ")").split())
    if not cleaned:
        raise LabelError("A class has an empty name: name it before you write an ENVI file.")
    return cleaned


ENVI = LabelFormat(
    "ENVI classification",
    (".hdr", *envi.DATA_SUFFIXES),
    (".hdr",),
    read,
    write,
    sniff=envi.is_classification,
)
