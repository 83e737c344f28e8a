"""Predict a cube of any size into files, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.io import LabelClass, write_labels
from carl.learning.features import Region
from carl.learning.predictor import Predictor, predict_windows
from carl.progress import Progress, no_progress, subprogress

_LABELS = "_labels.tif"
_CLASSES = "_labels.json"
_PROBABILITIES = "_probabilities.tif"
_CLASS_PROBABILITIES = "_probabilities.json"


def prediction_names(stem: str) -> tuple[str, ...]:
    """Return the names of all files that `predict_to_files` may write, for any predictor."""
    return tuple(stem + each for each in (_LABELS, _CLASSES, _PROBABILITIES, _CLASS_PROBABILITIES))


def predict_to_files(
    predictor: Predictor,
    cube: SpectralCube,
    folder: Path,
    stem: str,
    *,
    probabilities: bool = False,
    progress: Progress = no_progress,
) -> tuple[str, dict[str, float]]:
    """Predict a cube and write the result into a folder.

    A predictor of label maps writes ``<stem>_labels.tif``, the names and colours of the classes as
    ``<stem>_labels.json`` and, if asked for, ``<stem>_probabilities.tif`` (one float32 page per
    class). A predictor of image classes writes ``<stem>_probabilities.json``.

    Memory holds the labels (1 or 2 bytes per pixel) and what the predictor needs for one window of
    the cube. The folder holds a temporary file of the size of the probabilities.

    Args:
        predictor: from `carl.load_predictor`, or a fitted `carl.Segmenter`.
        cube: with known wavelengths.
        folder: exists.
        stem: first part of the file names.
        probabilities: whether to write the probabilities of a label map.
        progress: receives the fraction done; raises `carl.errors.Cancelled` to cancel.

    Returns:
        the name of the main file, and for each class its fraction of the pixels or, for image
        classes, its probability.

    Raises:
        WavelengthError: the wavelengths are unknown or do not fit the predictor.
        CubeError: the cube has no usable values.
        Cancelled: by `progress`.
        OSError: the folder cannot be written, or the disk is full.
    """
    if predictor.output == "image classes":
        name = stem + _CLASS_PROBABILITIES
        of_class = predictor.classify(cube, progress=progress)
        (folder / name).write_text(dumps(of_class, indent=2, ensure_ascii=False), "utf-8")
        return name, of_class
    name = stem + _LABELS
    values = [each.value for each in predictor.classes]
    labels: NDArray[np.unsignedinteger[Any]] = np.zeros(
        cube.shape[:2], np.min_scalar_type(max(values))
    )
    with TemporaryDirectory(dir=folder, prefix=".") as scratch:
        planes = _PlaneFile(Path(scratch, "probabilities"), (len(values), *labels.shape))
        bound = predictor.bind(cube, progress=subprogress(progress, 0.0, 0.3))
        for region, prediction in predict_windows(bound, subprogress(progress, 0.3, 1.0)):
            labels[region] = prediction.labels
            if probabilities:
                planes.write(region, prediction.probabilities)
        write_labels(folder / name, labels, predictor.classes)
        if probabilities:
            planes.save_tiff(folder / (stem + _PROBABILITIES), predictor.classes, progress)
    return name, {each.name: float((labels == each.value).mean()) for each in predictor.classes}


class _PlaneFile:
    """A file of float32 planes of one size, written by rectangles.

    It is written by `file.write` rather than through a memory map: a full disk then raises an
    OSError, where a memory map ends the process with a signal.

    Args:
        path: of the file.
        shape: (planes, H, W).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._path = path
        self._shape = shape

    def write(self, region: Region, values: NDArray[np.float32]) -> None:
        """Write (h, w, planes) values into the rows and columns of a region."""
        _, height, width = self._shape
        rows, columns = (range(n)[span] for n, span in zip((height, width), region, strict=True))
        self._path.touch()
        with self._path.open("r+b") as file:
            for plane in range(values.shape[2]):
                for row, of_row in zip(rows, values[..., plane], strict=True):
                    file.seek(4 * ((plane * height + row) * width + columns.start))
                    file.write(np.ascontiguousarray(of_row, np.float32).data)

    def save_tiff(self, path: Path, classes: Sequence[LabelClass], progress: Progress) -> None:
        """Write a compressed TIFF with one page per class."""
        import tifffile

        n_planes, height, width = self._shape

        def pages() -> Iterator[NDArray[np.float32]]:
            for plane in range(n_planes):
                progress(1.0, "Writing probabilities")
                start = 4 * plane * height * width
                page = np.fromfile(self._path, np.float32, height * width, offset=start)
                yield page.reshape(height, width)

        tifffile.imwrite(
            path,
            pages(),
            shape=self._shape,
            dtype=np.float32,
            photometric="minisblack",
            compression="zlib",
            metadata={"axes": "CYX", "Labels": [each.name for each in classes]},
        )
