"""Write label maps to files, of one cube or of all cubes in a folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlError, CubeError
from carl.io import (
    ExportContent,
    LabelClass,
    export_results,
    is_readable,
    read_cube,
)
from carl.progress import Progress, subprogress
from napari_carl.segmentation import LabelImage, SegmentationResult

if TYPE_CHECKING:
    from carl.learning import BoundPredictor, Predictor


@dataclass(frozen=True)
class Exported:
    """Files written by an export, and the errors that kept it from writing more."""

    files: tuple[Path, ...]
    failures: tuple[CarlError, ...] = ()


def export_segmentation(
    folder: Path,
    cube: SpectralCube,
    result: SegmentationResult,
    classes: Sequence[LabelClass],
    contents: Collection[ExportContent],
    progress: Progress,
) -> Exported:
    """Write the label map of a segmentation; missing windows of it are predicted first.

    Args:
        folder: output folder.
        cube: the segmented cube.
        result: segmentation of the whole cube, not a preview.
        classes: names and colours.
        contents: what to write.
        progress: called often; cancels by raising.
    """
    labels = result.labels
    if not result.complete.is_set():
        labels = predict_labels(result.bound, cube, subprogress(progress, 0.0, 0.5))
    files = _write_files(folder, cube, labels, classes, contents, subprogress(progress, 0.5, 1.0))
    return Exported(tuple(files))


def predict_labels(bound: BoundPredictor, cube: SpectralCube, progress: Progress) -> LabelImage:
    """Predict the (H, W) label map of a cube window by window."""
    from carl.learning.predictor import predict_windows

    labels: LabelImage | None = None
    for region, prediction in predict_windows(bound, progress):
        predicted = prediction.labels
        if labels is None:
            labels = np.zeros(cube.shape[:2], predicted.dtype)
        labels[region] = predicted
    assert labels is not None  # windows cover the cube
    return labels


def _write_files(
    folder: Path,
    cube: SpectralCube,
    labels: LabelImage,
    classes: Sequence[LabelClass],
    contents: Collection[ExportContent],
    progress: Progress,
) -> list[Path]:
    """Write the chosen contents of a (H, W) label map of a cube; all files or none."""
    stem = cube.name.replace("/", "_")
    return export_results(folder, stem, labels, classes, cube, contents=contents, progress=progress)


def export_folder(
    folder: Path,
    cubes: Path,
    predictor: Predictor,
    classes: Sequence[LabelClass],
    contents: Collection[ExportContent],
    progress: Progress,
) -> Exported:
    """Segment the cubes of a folder and write their label maps; cubes that fail are skipped.

    Raises:
        CubeError: there is no cube in the folder.
    """
    paths = find_cubes(cubes)
    files: list[Path] = []
    failures: list[CarlError] = []
    for i, path in enumerate(paths):
        here = subprogress(progress, i / len(paths), (i + 1) / len(paths))
        here(0.0, f"{path.name}, {i + 1} of {len(paths)}")
        try:
            cube = read_cube(path)
            bound = predictor.bind(cube, progress=subprogress(here, 0.0, 0.3))
            labels = predict_labels(bound, cube, subprogress(here, 0.3, 0.5))
            writing = subprogress(here, 0.5, 1.0)
            files += _write_files(folder, cube, labels, classes, contents, writing)
        except Cancelled:
            raise
        except CarlError as error:
            failures.append(error)
    return Exported(tuple(files), tuple(failures))


def find_cubes(folder: Path) -> list[Path]:
    """Return one file of each cube in a folder, sorted by name; exported label maps are left out.

    Raises:
        CubeError: there is no cube in the folder.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_excluded = path.name.startswith(".") or path.stem.endswith("_labels")
        if path.is_file() and not is_excluded and is_readable(path):
            found.setdefault(path.stem, path)
    if not found:
        raise CubeError(f"{folder} contains no cubes that can be read: choose another folder.")
    return list(found.values())
