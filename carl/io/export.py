"""Export of segmentation results: label map, masks, tables of classes and regions, pictures."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import atomic_folder
from carl.io.labels import LabelClass, as_labels, default_classes, write_labels
from carl.io.output_names import comparable, shortened
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.colour import true_colour

ExportContent = Literal["label map", "masks", "table", "regions", "pictures"]

DEFAULT_CONTENTS: tuple[ExportContent, ...] = ("label map", "masks", "table")
"""Contents that are exported by default."""
_OVERLAY_OPACITY = 0.5
"""Opacity of the class colours over the picture."""
_LABEL_MAP = ("_labels.tif", "_labels.png", "_classes.json")
_TABLE = "_classes.csv"
_REGIONS = "_regions.csv"
_PICTURES = ("_colour.png", "_overlay.png")
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
    - "regions": ``<stem>_regions.csv`` with class, number of pixels, area, centroid and bounding
      box of each connected region
    - "pictures": ``<stem>_colour.png``, and ``<stem>_overlay.png`` with the label map over it

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
        LabelError: the values are not labels, or do not have the size of the cube.
        OutputError: the folder cannot be written.
    """
    array = as_labels(labels)
    if array.shape != cube.shape[:2]:
        raise LabelError(
            f"The labels are {array.shape[0]} × {array.shape[1]} pixels but {cube.name} is "
            f"{cube.shape[0]} × {cube.shape[1]}: labels must have the size of their cube."
        )
    classes = _sorted_classes((*default_classes(array), *classes))
    folder = Path(folder)
    with atomic_folder(folder) as staging:
        if "table" in contents:
            means = class_means(cube, array, classes, progress=subprogress(progress, 0.0, 0.6))
            _write_table(staging / f"{stem}{_TABLE}", classes, array, means, cube)
        if "pictures" in contents:
            colours = true_colour(cube, subprogress(progress, 0.6, 0.8))
            colour, overlay = (staging / f"{stem}{ending}" for ending in _PICTURES)
            _write_png(colour, colours)
            _write_png(overlay, _overlay(colours, array, classes))
        if "label map" in contents:
            progress(0.8, "Writing the label map")
            tiff, png, listed = (staging / f"{stem}{ending}" for ending in _LABEL_MAP)
            write_labels(tiff, array)
            write_labels(png, array, classes)
            png.with_suffix(".json").replace(listed)
        if "regions" in contents:
            progress(0.85, "Measuring regions")
            _write_regions(staging / f"{stem}{_REGIONS}", array, classes, cube)
        if "masks" in contents:
            progress(0.9, "Writing masks")
            for each, name in zip(classes, mask_names(classes), strict=True):
                mask = (array == each.value).astype(np.uint8) * 255
                _write_png(staging / f"{stem}{_mask_ending(name)}", mask)
        names = sorted(path.name for path in staging.iterdir())
    progress(1.0, "Exported")
    return [folder / name for name in names]


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
    }
    return tuple(
        stem + ending for content, each in endings.items() if content in contents for ending in each
    )


def class_means(
    cube: SpectralCube,
    labels: NDArray[np.unsignedinteger],
    classes: Sequence[LabelClass],
    *,
    progress: Progress = no_progress,
) -> Float64Array:
    """Compute the mean spectrum of each class in one pass over the cube.

    Returns:
        (classes, bands) means of the finite physical values; NaN where there is none.
    """
    height, _, n_bands = cube.shape
    values = [each.value for each in classes]
    sums = np.zeros((len(values), n_bands))
    counts = np.zeros((len(values), n_bands), np.int64)
    for rows in cube.row_blocks():
        progress(rows.start / height, "Averaging the spectra of the classes")
        if not np.isin(labels[rows], values).any():
            continue
        block = cube.read(rows)
        for i, value in enumerate(values):
            spectra = block[labels[rows] == value]
            finite = np.isfinite(spectra)
            sums[i] += np.where(finite, spectra, 0).sum(axis=0, dtype=np.float64)
            counts[i] += finite.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


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


def _write_table(
    path: Path,
    classes: Sequence[LabelClass],
    labels: NDArray[np.unsignedinteger],
    means: Float64Array,
    cube: SpectralCube,
) -> None:
    n_labelled = np.count_nonzero(labels)
    nm = cube.wavelengths
    bands = (
        [f"mean_band_{band + 1}" for band in range(cube.n_bands)]
        if nm is None
        else [f"mean_{centre:.6g}" for centre in nm]
    )
    header = ["value", "name", "pixels", "share", "area", "area_unit", *bands]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for each, mean in zip(classes, means, strict=True):
            n_pixels = int(np.count_nonzero(labels == each.value))
            share = n_pixels / n_labelled if n_labelled else 0.0
            area = _area(cube, n_pixels)
            spectrum = ["" if np.isnan(value) else f"{value:.6g}" for value in mean]
            writer.writerow([each.value, each.name, n_pixels, f"{share:.6f}", *area, *spectrum])


def _write_regions(
    path: Path,
    labels: NDArray[np.unsignedinteger],
    classes: Sequence[LabelClass],
    cube: SpectralCube,
) -> None:
    """Write a row for each region of a class whose pixels touch at sides or corners."""
    from skimage.measure import label, regionprops

    names = {each.value: each.name for each in classes}
    header = ["value", "name", "pixels", "area", "area_unit", "row", "column"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "first_row", "first_column", "last_row", "last_column"])
        for region in regionprops(label(labels, background=0, connectivity=2)):
            value, pixels = int(labels[tuple(region.coords[0])]), int(region.num_pixels)
            row, column = (f"{position:.2f}" for position in region.centroid)
            top, left, bottom, right = region.bbox
            box = [top, left, bottom - 1, right - 1]
            writer.writerow([value, names[value], pixels, *_area(cube, pixels), row, column, *box])


def _area(cube: SpectralCube, n_pixels: int) -> list[str]:
    """Return the area of pixels and its unit, both empty if the size of a pixel is unknown."""
    size = cube.metadata.get("pixel_size")
    if size is None:
        return ["", ""]
    area = n_pixels * (float(size[0]) * float(size[1]))
    return [f"{area:.10g}", f"{cube.metadata.get('pixel_unit', '')}²"]
