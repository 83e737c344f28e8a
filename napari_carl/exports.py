"""Write label maps to files, of one cube or of all cubes in a folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carl.cube import SpectralCube
from carl.errors import Cancelled, CubeError
from carl.io import (
    ExportContent,
    LabelClass,
    OutputNames,
    export_names,
    export_results,
    find_existing,
    identify_cube,
    is_readable,
    plan_outputs,
    read_cube,
)
from carl.progress import Progress, subprogress
from napari_carl.segmentation import LabelImage, SegmentationResult

if TYPE_CHECKING:
    from carl.learning import BoundPredictor, Predictor


@dataclass(frozen=True)
class ExportRequest:
    """What is written, and where.

    Attributes:
        folder: output folder.
        contents: what is written of each cube.
        cubes: folder of the cubes to segment and export; None exports the current cube.
        replaceable: existing files that the user has agreed to replace.
        keep_existing: whether to add a number to the names instead of replacing files.
    """

    folder: Path
    contents: tuple[ExportContent, ...]
    cubes: Path | None = None
    replaceable: frozenset[Path] = frozenset()
    keep_existing: bool = False

    def overwriting(self, files: Collection[Path]) -> ExportRequest:
        """Return the request with the permission to replace these files."""
        return replace(self, replaceable=frozenset(files), keep_existing=False)

    def keeping_existing(self) -> ExportRequest:
        """Return the request with other names in place of those that are taken."""
        return replace(self, replaceable=frozenset(), keep_existing=True)


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        request: what was asked for.
        files: the written files.
        cubes: names of the cubes whose files were written.
        failures: names of the other cubes, and what is wrong with them.
        existing: files that would be replaced without permission; if any, nothing was written.
    """

    request: ExportRequest
    files: tuple[Path, ...] = ()
    cubes: tuple[str, ...] = ()
    failures: tuple[tuple[str, Exception], ...] = ()
    existing: tuple[Path, ...] = ()


def export_segmentation(
    request: ExportRequest,
    cube: SpectralCube,
    result: SegmentationResult,
    classes: Sequence[LabelClass],
    progress: Progress,
) -> Exported:
    """Write the label map of a segmentation; missing windows of it are predicted first.

    Args:
        request: what to write.
        cube: the segmented cube.
        result: segmentation of the whole cube, not a preview.
        classes: names and colours.
        progress: called often; cancels by raising.

    Raises:
        CarlError: the files cannot be written.
    """
    classes = (*result.predictor.classes, *classes)
    (output,), existing = _plan(request, [cube.name], classes)
    if existing:
        return Exported(request, existing=existing)
    labels = result.labels
    if not result.complete.is_set():
        labels = predict_labels(result.bound, cube, subprogress(progress, 0.0, 0.5))
    files = _write(request, output, cube, labels, classes, subprogress(progress, 0.5, 1.0))
    return Exported(request, files, (cube.name,))


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


def export_folder(
    request: ExportRequest,
    predictor: Predictor,
    classes: Sequence[LabelClass],
    progress: Progress,
) -> Exported:
    """Segment the cubes of a folder and write their label maps; cubes that fail are skipped.

    Args:
        request: what to write, of which folder of cubes.
        predictor: a predictor of label maps.
        classes: names and colours.
        progress: called often; cancels by raising.

    Raises:
        CubeError: there is no cube in the folder.
        OutputError: two cubes would be written to the same file, or over a cube.
    """
    assert request.cubes is not None
    paths = find_cubes(request.cubes)
    classes = (*predictor.classes, *classes)
    outputs, existing = _plan(request, paths, classes, inputs=paths)
    if existing:
        return Exported(request, existing=existing)
    done = Exported(request)
    for i, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        here = subprogress(progress, i / len(paths), (i + 1) / len(paths))
        here(0.0, f"{path.name}, {i + 1} of {len(paths)}")
        try:
            cube = read_cube(path)
            bound = predictor.bind(cube, progress=subprogress(here, 0.0, 0.3))
            labels = predict_labels(bound, cube, subprogress(here, 0.3, 0.5))
            files = _write(request, output, cube, labels, classes, subprogress(here, 0.5, 1.0))
        except Cancelled:
            raise
        except Exception as error:  # the other cubes must not depend on this one
            done = replace(done, failures=(*done.failures, (path.name, error)))
        else:
            done = replace(done, files=done.files + files, cubes=(*done.cubes, path.name))
    return done


def find_cubes(folder: Path) -> list[Path]:
    """Return one file of each cube in a folder, sorted by name; exported label maps are left out.

    Raises:
        CubeError: there is no cube in the folder, or it cannot be read.
    """
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise CubeError(
            f"{folder} cannot be read ({error.strerror}): choose another folder."
        ) from error
    found: dict[Path, Path] = {}
    for path in files:
        is_excluded = path.name.startswith(".") or _is_result(path, files)
        if path.is_file() and not is_excluded and is_readable(path):
            identity = identify_cube(path)
            first = found.setdefault(identity, path)
            # The header finds the data file of the right size, if there are several beside it.
            if path.suffix.lower() == ".hdr" and path.stem == first.stem:
                found[identity] = path
    if not found:
        raise CubeError(f"{folder} contains no cubes that can be read: choose another folder.")
    return sorted(found.values())


def _is_result(path: Path, files: Collection[Path]) -> bool:
    """Return whether a file is a result of an export, by its name and the files beside it.

    Those are the names of its classes, or the cube it belongs to.
    """
    own = path.stem.removesuffix(".ome")
    for ending in ("_labels", "_probabilities", "_classification", "_cube"):
        if own.endswith(ending):
            stem = own.removesuffix(ending)
            listed = {f"{stem}_classes.json", f"{stem}_labels.json"}
            return any(each.name in listed or each.stem == stem for each in files)
    return False


def _plan(
    request: ExportRequest,
    cubes: Sequence[Path | str],
    classes: Sequence[LabelClass],
    inputs: Collection[Path] = (),
) -> tuple[tuple[OutputNames, ...], tuple[Path, ...]]:
    """Return the names of all files, and those of them that must not be replaced."""
    names_of = partial(export_names, classes=classes, contents=request.contents)
    for number in count(1):
        outputs = plan_outputs(cubes, names_of, number=number)
        existing = find_existing(request.folder, outputs, inputs)
        if not existing or not request.keep_existing:
            break
    return outputs, tuple(path for path in existing if path not in request.replaceable)


def _write(
    request: ExportRequest,
    output: OutputNames,
    cube: SpectralCube,
    labels: LabelImage,
    classes: Sequence[LabelClass],
    progress: Progress,
) -> tuple[Path, ...]:
    """Write the files of a (H, W) label map of a cube; all of them or none."""
    return tuple(
        export_results(
            request.folder,
            output.stem,
            labels,
            classes,
            cube,
            contents=request.contents,
            progress=progress,
        )
    )
