"""Export of cubes and segmentation results to files of many formats, all of them or none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import atomic_folder
from carl.io.cube_writers import write_cube
from carl.io.labels import (
    LabelClass,
    as_labels,
    default_classes,
    find_writer,
    write_labels,
)
from carl.io.output_names import comparable, shortened
from carl.io.tables import class_means, write_class_table, write_region_table
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.colour import true_colour

ExportContent = Literal[
    "label map", "masks", "table", "regions", "pictures", "geojson", "coco", "nrrd",
    "envi labels", "dicom", "envi cube", "tiff cube", "ome-tiff cube",
    "zarr labels", "zarr cube",
]  # fmt: skip
"""What can be exported."""

DEFAULT_CONTENTS: tuple[ExportContent, ...] = ("label map", "masks", "table")
"""Contents that are exported by default."""
_OVERLAY_OPACITY = 0.5
"""Opacity of the class colours over the picture."""
_LABEL_MAP = ("_labels.tif", "_labels.png", "_classes.json")
_TABLE = "_classes.csv"
_REGIONS = "_regions.csv"
_PICTURES = ("_colour.png", "_overlay.png")
_LABEL_FILES: Mapping[ExportContent, tuple[str, ...]] = {
    "geojson": ("_labels.geojson",),
    "coco": ("_coco.json",),
    "nrrd": ("_labels.seg.nrrd",),
    "envi labels": ("_classification.hdr", "_classification.dat"),
    "dicom": ("_seg.dcm", "_colour.dcm"),
    "zarr labels": ("_labels.zarr",),
}
"""Files of the contents that are the label map in a single format, the one to write first."""
_CUBE_FILES: Mapping[ExportContent, tuple[str, ...]] = {
    "envi cube": ("_cube.hdr", "_cube.dat"),
    "tiff cube": ("_cube.tif",),
    "ome-tiff cube": ("_cube.ome.tif",),
    "zarr cube": ("_cube.zarr",),
}
"""Files of the contents that are the cube in a single format, the one to write first."""
_MAX_CLASS_BYTES = 64
"""Longest name of a class in the name of a file, in bytes: the name of the cube needs room too."""


def export_results(
    folder: str | Path,
    stem: str,
    labels: ArrayLike,
    classes: Sequence[LabelClass],
    cube: SpectralCube,
    *,
    contents: Collection[ExportContent] = DEFAULT_CONTENTS,
    progress: Progress = no_progress,
) -> list[Path]:
    """Write the results of a segmentation into a folder, all files or none.

    - "label map": ``<stem>_labels.tif``, ``<stem>_labels.png`` in the colours of the classes and
      ``<stem>_classes.json``
    - "masks": ``<stem>_mask_<name>.png`` of each class (0 and 255)
    - "table": ``<stem>_classes.csv`` with value, name, number of pixels, share of the labelled
      pixels, area if the size of a pixel is known, and mean spectrum of each class
    - "regions": ``<stem>_regions.csv`` with class, number of pixels, area, centroid, bounding box,
      shape and mean spectrum of each connected region
    - "pictures": ``<stem>_colour.png``, and ``<stem>_overlay.png`` with the label map over it
    - "geojson", "coco", "nrrd", "envi labels", "dicom": the label map in another format,
      ``<stem>_labels.geojson``, ``<stem>_coco.json``, ``<stem>_labels.seg.nrrd``,
      ``<stem>_classification.hdr`` or ``<stem>_seg.dcm`` with the picture ``<stem>_colour.dcm``
    - "zarr labels": the label map as an OME-Zarr label image, the folder ``<stem>_labels.zarr``
    - "envi cube", "tiff cube", "ome-tiff cube", "zarr cube": the cube, ``<stem>_cube.hdr`` or so

    Existing files of these names are replaced; `export_names` returns the names beforehand.

    Args:
        folder: created if missing.
        stem: start of the file names.
        labels: (H, W) whole numbers, 0 for unlabelled.
        classes: names and colours; missing classes of the labels get default ones.
        cube: the cube the labels belong to.
        contents: what to write.
        progress: called often; cancels by raising.

    Returns:
        Paths of the files.

    Raises:
        LabelError: the values are not labels, or do not have the size of the cube, or a format
            needs packages that are not installed.
        OutputError: the folder cannot be written.
    """
    array = as_labels(labels)
    if array.shape != cube.shape[:2]:
        raise LabelError(
            f"The labels are {array.shape[0]} × {array.shape[1]} pixels but {cube.name} is "
            f"{cube.shape[0]} × {cube.shape[1]}: labels must have the size of their cube."
        )
    classes = _sorted_classes((*default_classes(array), *classes))
    for content in contents:
        if content in _LABEL_FILES:
            find_writer(Path(_LABEL_FILES[content][0])).require()
    folder = Path(folder)
    with atomic_folder(folder) as staging:
        if "table" in contents:
            means = class_means(cube, array, classes, progress=subprogress(progress, 0.0, 0.3))
            write_class_table(staging / f"{stem}{_TABLE}", classes, array, means, cube)
        if "regions" in contents:
            here = subprogress(progress, 0.3, 0.5)
            write_region_table(staging / f"{stem}{_REGIONS}", array, classes, cube, progress=here)
        if "pictures" in contents:
            colours = true_colour(cube, subprogress(progress, 0.5, 0.6))
            colour, overlay = (staging / f"{stem}{ending}" for ending in _PICTURES)
            _write_png(colour, colours)
            _write_png(overlay, _overlay(colours, array, classes))
        for content, (ending, *_) in _CUBE_FILES.items():
            if content in contents:
                progress(0.6, "Writing the cube")
                write_cube(staging / f"{stem}{ending}", cube)
        for content, (ending, *_) in _LABEL_FILES.items():
            if content in contents:
                progress(0.7, f"Writing {stem}{ending}")
                write_labels(staging / f"{stem}{ending}", array, classes, cube)
        if "label map" in contents:
            progress(0.8, "Writing the label map")
            tiff, png, listed = (staging / f"{stem}{ending}" for ending in _LABEL_MAP)
            write_labels(tiff, array, cube=cube)
            write_labels(png, array, classes)
            png.with_suffix(".json").replace(listed)
        if "masks" in contents:
            progress(0.9, "Writing masks")
            for each, name in zip(classes, mask_names(classes), strict=True):
                mask = (array == each.value).astype(np.uint8) * 255
                _write_png(staging / f"{stem}{_mask_ending(name)}", mask)
        names = sorted(path.name for path in staging.iterdir())
    progress(1.0, "Exported")
    return [folder / name for name in names]


def missing_extra(content: ExportContent) -> str | None:
    """Return the extra of the installation that a content needs and that is missing, or None."""
    if content not in _LABEL_FILES:
        return None
    return find_writer(Path(_LABEL_FILES[content][0])).missing_extra


def export_names(
    stem: str,
    classes: Sequence[LabelClass],
    contents: Collection[ExportContent] = DEFAULT_CONTENTS,
) -> tuple[str, ...]:
    """Return the names of the files that `export_results` writes.

    Args:
        stem: start of the file names.
        classes: all classes, those of labels without a name included.
        contents: what is written.
    """
    endings: dict[ExportContent, tuple[str, ...]] = {
        "label map": _LABEL_MAP,
        "masks": tuple(map(_mask_ending, mask_names(_sorted_classes(classes)))),
        "table": (_TABLE,),
        "regions": (_REGIONS,),
        "pictures": _PICTURES,
        **_LABEL_FILES,
        **_CUBE_FILES,
    }
    return tuple(
        stem + ending for content, each in endings.items() if content in contents for ending in each
    )


def mask_names(classes: Sequence[LabelClass]) -> list[str]:
    """Return the names of classes as parts of file names: valid on any system, and unique.

    Classes whose names differ in case or in invalid characters only get their values in addition.
    """
    cleaned = [
        shortened(
            re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", each.name)).strip("._"),
            _MAX_CLASS_BYTES,
        )
        for each in classes
    ]
    keys = [comparable(name) for name in cleaned]
    is_unique = [bool(key) and keys.count(key) == 1 for key in keys]
    taken = {key for key, unique in zip(keys, is_unique, strict=True) if unique}
    names = []
    for each, name, unique in zip(classes, cleaned, is_unique, strict=True):
        while not unique:
            name = f"{name}_{each.value}".lstrip("_")
            unique = comparable(name) not in taken
        taken.add(comparable(name))
        names.append(name)
    return names


def _mask_ending(name: str) -> str:
    return f"_mask_{name}.png"


def _sorted_classes(classes: Iterable[LabelClass]) -> list[LabelClass]:
    """Return the last class of each value, by value."""
    by_value = {each.value: each for each in classes}
    return [by_value[value] for value in sorted(by_value)]


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG", optimize=True)


def _overlay(
    colours: NDArray[np.uint8],
    labels: NDArray[np.unsignedinteger],
    classes: Sequence[LabelClass],
) -> NDArray[np.uint8]:
    """Blend the colours of the classes into an (H, W, 3) picture; label 0 leaves it unchanged."""
    blended = colours.copy()
    for each in classes:
        inside = labels == each.value
        background = colours[inside] * (1 - _OVERLAY_OPACITY)
        blended[inside] = np.rint(background + _OVERLAY_OPACITY * np.array(each.colour))
    return blended
