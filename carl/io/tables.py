"""Tables of the classes and the regions of a label map, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.cube import SpectralCube
from carl.io.labels import LabelClass
from carl.progress import Progress, no_progress

_SHAPE_COLUMNS = {
    "perimeter": "perimeter",
    "major_axis": "axis_major_length",
    "minor_axis": "axis_minor_length",
    "orientation": "orientation",
    "eccentricity": "eccentricity",
    "solidity": "solidity",
}
"""Columns of the shape of a region, and the properties of scikit-image that they hold. Lengths are
in pixels, the orientation of the major axis is in radians from the direction of the rows."""
_BLOCK_VALUES = 1 << 21
"""Values of a cube that are averaged at a time: several copies of them are in memory."""


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
    position = np.zeros(1 + max([int(labels.max()), *(each.value for each in classes)]), np.int64)
    for number, each in enumerate(classes, 1):
        position[each.value] = number
    return mean_spectra(cube, position[labels], len(classes), progress=progress)


def mean_spectra(
    cube: SpectralCube,
    groups: NDArray[np.integer],
    n_groups: int,
    *,
    progress: Progress = no_progress,
) -> Float64Array:
    """Compute the mean spectrum of each group of pixels in one pass over the cube.

    Args:
        cube: of (H, W, C) pixels.
        groups: (H, W) numbers of the groups from 1; 0 for pixels of none.
        n_groups: number of groups.
        progress: called often; cancels by raising.

    Returns:
        (n_groups, C) means of the finite physical values; NaN where there is none.
    """
    from scipy.sparse import csr_array

    height, _, n_bands = cube.shape
    sums = np.zeros((n_groups, n_bands))
    counts = np.zeros((n_groups, n_bands))
    for rows in cube.row_blocks(_BLOCK_VALUES):
        progress(rows.start / height, "Averaging spectra")
        of_pixel = groups[rows].ravel()
        pixels = np.flatnonzero(of_pixel)
        if pixels.size == 0:
            continue
        spectra = cube.read(rows).reshape(-1, n_bands)[pixels].astype(np.float64)
        finite = np.isfinite(spectra)
        ones = np.ones(pixels.size)
        places = (of_pixel[pixels] - 1, np.arange(pixels.size))
        select = csr_array((ones, places), shape=(n_groups, pixels.size))
        sums += select @ np.where(finite, spectra, 0.0)
        counts += select @ finite.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)


def write_class_table(
    path: Path,
    classes: Sequence[LabelClass],
    labels: NDArray[np.unsignedinteger],
    means: Float64Array,
    cube: SpectralCube,
) -> None:
    """Write a row for each class: pixels, share of the labelled pixels, area and mean spectrum."""
    n_labelled = np.count_nonzero(labels)
    header = ["value", "name", "pixels", "share", "area", "area_unit", *_mean_columns(cube)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for each, mean in zip(classes, means, strict=True):
            n_pixels = int(np.count_nonzero(labels == each.value))
            share = n_pixels / n_labelled if n_labelled else 0.0
            area = _area(cube, n_pixels)
            row = [each.value, each.name, n_pixels, f"{share:.6f}", *area]
            writer.writerow([*row, *map(_number, mean)])


def write_region_table(
    path: Path,
    labels: NDArray[np.unsignedinteger],
    classes: Sequence[LabelClass],
    cube: SpectralCube,
    *,
    progress: Progress = no_progress,
) -> None:
    """Write a row for each region of a class whose pixels touch at sides or corners.

    It has the area, centroid, bounding box, shape and mean spectrum of the region.
    """
    from skimage.measure import label, regionprops

    names = {each.value: each.name for each in classes}
    components, n_regions = label(labels, background=0, connectivity=2, return_num=True)
    means = mean_spectra(cube, components, n_regions, progress=progress)
    header = ["value", "name", "pixels", "area", "area_unit", "row", "column"]
    header += ["first_row", "first_column", "last_row", "last_column", *_SHAPE_COLUMNS]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*header, *_mean_columns(cube)])
        for region, mean in zip(regionprops(components), means, strict=True):
            value, pixels = int(labels[tuple(region.coords[0])]), int(region.num_pixels)
            row, column = (f"{position:.2f}" for position in region.centroid)
            top, left, bottom, right = region.bbox
            box = [top, left, bottom - 1, right - 1]
            shape = [_number(getattr(region, name)) for name in _SHAPE_COLUMNS.values()]
            start = [value, names[value], pixels, *_area(cube, pixels), row, column]
            writer.writerow([*start, *box, *shape, *map(_number, mean)])


def _mean_columns(cube: SpectralCube) -> list[str]:
    nm = cube.wavelengths
    if nm is None:
        return [f"mean_band_{band + 1}" for band in range(cube.n_bands)]
    return [f"mean_{centre:.6g}" for centre in nm]


def _number(value: float) -> str:
    """Return a number as text, empty if it is missing."""
    return "" if np.isnan(value) else f"{value:.6g}"


def _area(cube: SpectralCube, n_pixels: int) -> list[str]:
    """Return the area of pixels and its unit, both empty if the size of a pixel is unknown."""
    size = cube.metadata.get("pixel_size")
    if size is None:
        return ["", ""]
    area = n_pixels * (float(size[0]) * float(size[1]))
    return [f"{area:.10g}", f"{cube.metadata.get('pixel_unit', '')}²"]
