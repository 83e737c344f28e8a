"""Export of segmentation results: label map, masks, tables of classes and regions, pictures."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import atomic_folder
from carl.io.labels import LabelClass, as_labels, default_classes, write_labels
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.colour import true_colour

ExportContent = Literal["label map", "masks", "table", "regions", "pictures"]

DEFAULT_CONTENTS: tuple[ExportContent, ...] = ("label map", "masks", "table")
"""Contents that are exported by default."""
_OVERLAY_OPACITY = 0.5
"""Opacity of the class colours over the picture."""


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
    by_value = {each.value: each for each in (*default_classes(array), *classes)}
    classes = [by_value[value] for value in sorted(by_value)]
    folder = Path(folder)
    with atomic_folder(folder) as staging:
        if "table" in contents:
            means = class_means(cube, array, classes, progress=subprogress(progress, 0.0, 0.6))
            _write_table(staging / f"{stem}_classes.csv", classes, array, means, cube)
        if "pictures" in contents:
            colours = true_colour(cube, subprogress(progress, 0.6, 0.8))
            _write_png(staging / f"{stem}_colour.png", colours)
            _write_png(staging / f"{stem}_overlay.png", _overlay(colours, array, classes))
        if "label map" in contents:
            progress(0.8, "Writing the label map")
            write_labels(staging / f"{stem}_labels.tif", array)
            write_labels(staging / f"{stem}_labels.png", array, classes)
            (staging / f"{stem}_labels.json").replace(staging / f"{stem}_classes.json")
        if "regions" in contents:
            progress(0.85, "Measuring regions")
            _write_regions(staging / f"{stem}_regions.csv", array, classes, cube)
        if "masks" in contents:
            progress(0.9, "Writing masks")
            for each, name in zip(classes, mask_names(classes), strict=True):
                mask = (array == each.value).astype(np.uint8) * 255
                _write_png(staging / f"{stem}_mask_{name}.png", mask)
        names = sorted(path.name for path in staging.iterdir())
    progress(1.0, "Exported")
    return [folder / name for name in names]


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
    """Return the names of classes as parts of file names: valid on any system, and unique."""
    names = [re.sub(r"[^\w.-]+", "_", each.name).strip("._") for each in classes]
    lowered = [name.lower() for name in names]
    return [
        name if name and lowered.count(name.lower()) == 1 else f"{name}_{each.value}".lstrip("_")
        for name, each in zip(names, classes, strict=True)
    ]


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
