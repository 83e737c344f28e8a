"""What a user takes home: label map, masks, class names and a table of the classes.

All files are complete before the first one takes its place.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.files import atomic_folder
from carl.io.labels import LabelClass, as_labels, default_classes, write_labels
from carl.progress import Progress, no_progress, subprogress
from carl.spectra.colour import true_colour

ExportContent = Literal["label map", "masks", "table", "pictures"]

DEFAULT_CONTENTS: tuple[ExportContent, ...] = ("label map", "masks", "table")
"""What is written unless something else is asked for."""
_OVERLAY_OPACITY = 0.5


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Pixels of a class and the mean of their finite values: (C,) physical values."""

    pixels: int
    mean: NDArray[np.float64]


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
    """Write what there is to say of a segmented cube into a folder.

    The label map: ``<stem>_labels.tif``, ``<stem>_labels.png`` in the class colours and
    ``<stem>_classes.json``. Masks: ``<stem>_mask_<name>.png`` for every class (0 and 255). The
    table: ``<stem>_classes.csv`` with value, name, pixels, share of the labelled pixels, area where
    the size of a pixel is known, mean spectrum. Pictures: ``<stem>_colour.png`` and
    ``<stem>_overlay.png``, the map over the colours.

    Args:
        folder: where to; made if missing.
        stem: beginning of the file names.
        labels: (H, W) whole numbers, 0 for unlabelled.
        classes: names and colours; classes in the labels that are not among them are added.
        cube: the cube the labels belong to.
        contents: which of these to write.
        progress: told how far it is.

    Returns:
        The files.

    Raises:
        LabelError: these are no labels, or not of the size of the cube.
        OutputError: the folder cannot be written.
    """
    array = as_labels(labels)
    if array.shape != cube.shape[:2]:
        raise LabelError(
            f"The labels are {array.shape[0]} × {array.shape[1]} pixels but {cube.name} is "
            f"{cube.shape[0]} × {cube.shape[1]}: labels must be of the size of their cube."
        )
    classes = _all_classes(array, classes)
    folder = Path(folder)
    with atomic_folder(folder) as staging:
        if "table" in contents:
            statistics = class_statistics(
                cube, array, classes, progress=subprogress(progress, 0.0, 0.6)
            )
            _write_table(staging / f"{stem}_classes.csv", classes, statistics, cube)
        if "pictures" in contents:
            colours = true_colour(cube, subprogress(progress, 0.6, 0.8))
            _write_png(staging / f"{stem}_colour.png", colours)
            _write_png(staging / f"{stem}_overlay.png", _overlay(colours, array, classes))
        if "label map" in contents:
            progress(0.8, "Writing the label map")
            write_labels(staging / f"{stem}_labels.tif", array)
            write_labels(staging / f"{stem}_labels.png", array, classes)
            (staging / f"{stem}_labels.json").replace(staging / f"{stem}_classes.json")
        if "masks" in contents:
            progress(0.9, "Writing masks")
            for known, name in zip(classes, mask_names(classes), strict=True):
                _write_png(
                    staging / f"{stem}_mask_{name}.png",
                    (array == known.value).astype(np.uint8) * 255,
                )
        names = sorted(path.name for path in staging.iterdir())
    progress(1.0, "Exported")
    return [folder / name for name in names]


def class_statistics(
    cube: SpectralCube,
    labels: NDArray[np.unsignedinteger],
    classes: Sequence[LabelClass],
    *,
    progress: Progress = no_progress,
) -> list[ClassStatistics]:
    """Size and mean spectrum of each class, in one pass over the cube, block by block.

    Args:
        cube: (H, W, C).
        labels: (H, W), 0 for unlabelled.
        classes: the classes to look at.
        progress: told how far it is.
    """
    height, _, n_bands = cube.shape
    values = [known.value for known in classes]
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
        means = sums / counts
    return [
        ClassStatistics(int(np.count_nonzero(labels == value)), mean)
        for value, mean in zip(values, means, strict=True)
    ]


def mask_names(classes: Sequence[LabelClass]) -> list[str]:
    """The classes' names as parts of file names: safe everywhere, and different from each other."""
    names = [re.sub(r"[^\w.-]+", "_", known.name).strip("._") for known in classes]
    lowered = [name.lower() for name in names]
    return [
        name if name and lowered.count(name.lower()) == 1 else f"{name}_{known.value}".lstrip("_")
        for name, known in zip(names, classes, strict=True)
    ]


def _all_classes(
    labels: NDArray[np.unsignedinteger], classes: Sequence[LabelClass]
) -> tuple[LabelClass, ...]:
    named = {known.value for known in classes}
    unnamed = [known for known in default_classes(labels) if known.value not in named]
    return tuple(sorted((*classes, *unnamed), key=lambda known: known.value))


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG", optimize=True)


def _overlay(
    colours: NDArray[np.uint8],
    labels: NDArray[np.unsignedinteger],
    classes: Sequence[LabelClass],
) -> NDArray[np.uint8]:
    """The classes in their colours over a picture, (H, W, 3); it shines through, bare at 0."""
    mixed = colours.copy()
    for known in classes:
        inside = labels == known.value
        under = colours[inside] * (1 - _OVERLAY_OPACITY)
        mixed[inside] = np.rint(under + _OVERLAY_OPACITY * np.array(known.colour))
    return mixed


def _write_table(
    path: Path,
    classes: Sequence[LabelClass],
    statistics: Sequence[ClassStatistics],
    cube: SpectralCube,
) -> None:
    pixel_area, unit = _pixel_area(cube)
    labelled = sum(found.pixels for found in statistics)
    head = ["value", "name", "pixels", "share", "area", "area_unit", *_band_columns(cube)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for known, found in zip(classes, statistics, strict=True):
            share = found.pixels / labelled if labelled else 0.0
            area = "" if pixel_area is None else f"{found.pixels * pixel_area:.10g}"
            means = ["" if np.isnan(mean) else f"{mean:.6g}" for mean in found.mean]
            row = [known.value, known.name, found.pixels, f"{share:.6f}", area, unit, *means]
            writer.writerow(row)


def _band_columns(cube: SpectralCube) -> list[str]:
    if cube.wavelengths is None:
        return [f"mean_band_{band + 1}" for band in range(cube.n_bands)]
    return [f"mean_{nm:.6g}" for nm in cube.wavelengths]


def _pixel_area(cube: SpectralCube) -> tuple[float | None, str]:
    size = cube.metadata.get("pixel_size")
    if size is None:
        return None, ""
    return float(size[0]) * float(size[1]), f"{cube.metadata.get('pixel_unit', '')}²"
