"""Registry of the formats of label maps, and reading and writing of any of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from numpy.typing import ArrayLike

from carl.cube import SpectralCube
from carl.errors import CubeError, LabelError
from carl.files import atomic_folder
from carl.io.labels import variables
from carl.io.labels.class_list import read_classes, write_classes
from carl.io.labels.classification import ENVI
from carl.io.labels.coco import COCO
from carl.io.labels.dicom import DICOM
from carl.io.labels.geojson import GEOJSON
from carl.io.labels.images import NUMPY, PNG, TIFF
from carl.io.labels.label_format import LabelFormat, wrong_size
from carl.io.labels.label_map import (
    LabelClass,
    LabelMap,
    as_labels,
    default_classes,
)
from carl.io.labels.nrrd import NRRD
from carl.io.labels.ome_zarr import OME_ZARR
from carl.io.reader import decoding_errors

LABEL_FORMATS: tuple[LabelFormat, ...] = (
    TIFF, PNG, NUMPY, GEOJSON, COCO, NRRD, DICOM, OME_ZARR, ENVI,
)  # fmt: skip
"""All formats; the first one whose suffix and signature fit reads a file."""


def find_label_format(path: str | Path) -> LabelFormat | None:
    """Return the format of a file, by its suffix and first bytes; None if it has none of them.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    return next((each for each in LABEL_FORMATS if _fits(each, path) and each.sniff(path)), None)


def is_label_map(path: str | Path) -> bool:
    """Return whether a file is a label map, by its name and its classes; never raises.

    It is one if its format has classes, such as GeoJSON or an ENVI classification. A TIFF, PNG or
    NumPy file is one if its name ends in ``_labels``, as that of an exported label map, or if the
    names of its classes are stored beside it. Others may be read by `read_labels`, too.

    Examples:
        >>> from carl.files import resource_path
        >>> is_label_map(resource_path("sample", "bladder_labels.png"))
        True
        >>> is_label_map(resource_path("sample", "bladder.tif"))
        False
    """
    path = Path(path)
    if not _is_readable(path):
        return False
    try:
        found = find_label_format(path)
        if found is None or found.lists_classes:
            return found is not None
        return path.stem.endswith("_labels") or bool(read_classes(path))
    except (LabelError, OSError):
        return False


def read_labels(
    path: str | Path,
    shape: tuple[int, int] | tuple[int, int, int] | None = None,
    variable: str | None = None,
) -> LabelMap:
    """Read a label map, and the names and colours of its classes.

    Examples:
        >>> from carl.files import resource_path
        >>> label_map = read_labels(resource_path("sample", "bladder_labels.png"))
        >>> label_map.labels.shape
        (676, 844)
        >>> [each.name for each in label_map.classes]
        ['lumen', 'urothelium', 'stroma', 'blood']

    Args:
        path: PNG (grey or palette), TIFF or .npy, whose classes are in ``<stem>.json`` or, for an
            exported ``<name>_labels.tif``, in ``<name>_classes.json``; or a format that has
            classes: an ENVI classification, GeoJSON, COCO, NRRD, a DICOM segmentation or the
            folder of an OME-Zarr label image. Or a file that holds a cube and its labels.
        shape: shape of the cube it belongs to, checked if given. GeoJSON files of other programs
            do not state a size and need it.
        variable: name of the array, in a file that holds several, such as .mat, .npz and HDF5.

    Raises:
        LabelError: the file is missing, damaged, not a label map, or of another size than the cube.
    """
    path = Path(path)
    if not _is_readable(path):
        raise LabelError(f"{path} does not exist: check the name and the folder.")
    known = None if shape is None else (int(shape[0]), int(shape[1]))
    with decoding_errors(path, "a label map", LabelError):
        try:
            if variable is not None or path.suffix.lower() in variables.SUFFIXES:
                stored = variables.read_variable(path, variable)
            else:
                stored = _require_format(path).read(path, known)
        except CubeError as error:
            raise LabelError(str(error)) from error
    labels = as_labels(stored.pixels, path.name)
    if known is not None and labels.shape != known:
        raise wrong_size(path, labels.shape, known)
    named = read_classes(path) if stored.classes is None else stored.classes
    classes = {each.value: each for each in (*default_classes(labels), *named)}
    return LabelMap(labels, tuple(classes[value] for value in sorted(classes)))


def _is_readable(path: Path) -> bool:
    """Return whether a path is a file or a folder; opening a pipe would wait for ever."""
    return os.path.isfile(path) or os.path.isdir(path)


def _require_format(path: Path) -> LabelFormat:
    found = find_label_format(path)
    if found is None:
        raise LabelError(
            f"{path.name} is not a label map: use {_names()}, or give it the suffix of one."
        )
    found.require()
    return found


def write_labels(
    path: str | Path,
    labels: ArrayLike,
    classes: Iterable[LabelClass] = (),
    cube: SpectralCube | None = None,
) -> Path:
    """Write a label map and its classes.

    The classes of .tif, .png and .npy files, if given, are written as JSON beside them.

    Examples:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> labels = np.array([[0, 1], [2, 2]])
        >>> classes = [LabelClass(1, "lumen", (230, 159, 0)), LabelClass(2, "blood", (255, 0, 0))]
        >>> with TemporaryDirectory() as folder:
        ...     path = write_labels(Path(folder) / "slide_labels.geojson", labels, classes)
        ...     [each.name for each in read_labels(path).classes]
        ['lumen', 'blood']

    Args:
        path: of the file; its suffix determines the format: .tif, .png (8-bit files store the
            colours), .npy, .hdr (ENVI classification), .geojson, .json (COCO), .seg.nrrd, .zarr
            (OME-Zarr) or .dcm (DICOM segmentation, which needs the extra "dicom" and is written
            with the picture in true colour that it refers to, ``<stem>_colour.dcm``).
        labels: (H, W) whole numbers 0..65535.
        classes: names and colours; in formats that have classes, values without one get a default
            one.
        cube: the cube they belong to; its georeference and size of pixels are written where the
            format has room for them.

    Returns:
        The path.

    Raises:
        LabelError: the values are not labels, or the suffix is another one.
        OutputError: the folder cannot be written.
    """
    path = Path(path)
    listed = tuple(classes)
    array = as_labels(labels)
    found = find_writer(path)
    assert found.write is not None
    found.require()
    with atomic_folder(path.parent) as folder:
        if found.lists_classes:
            named = {each.value: each for each in (*default_classes(array), *listed)}
            listed = tuple(named[value] for value in sorted(named))
        found.write(folder / path.name, LabelMap(array, listed), cube)
        if listed and not found.lists_classes:
            write_classes(folder / path.with_suffix(".json").name, listed)
    return path


def find_writer(path: Path) -> LabelFormat:
    """Return the format that is written under a name; the file need not exist.

    Raises:
        LabelError: no format has its suffix.
    """
    name = path.name.lower()
    for each in LABEL_FORMATS:
        if each.write is not None and name.endswith(each.written_suffixes):
            return each
    raise LabelError(f"{path.name} must end in {_suffixes()}.")


def _fits(each: LabelFormat, path: Path) -> bool:
    name = path.name.lower()
    return any(name.endswith(suffix) if suffix else not path.suffix for suffix in each.suffixes)


def _names() -> str:
    return ", ".join(each.name for each in LABEL_FORMATS[:-1]) + f" or an {LABEL_FORMATS[-1].name}"


def _suffixes() -> str:
    written = [each.written_suffixes[0] for each in LABEL_FORMATS if each.write is not None]
    return f"{', '.join(written[:-1])} or {written[-1]}"
