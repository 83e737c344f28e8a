"""Label maps and probabilities of cubes of any size, written without holding all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.io import LabelClass, write_labels
from carl.progress import Progress

if TYPE_CHECKING:
    from carl.learning.features import Region
    from carl.learning.head_training import TrainedHead
    from carl.learning.segmenter import Prediction, Segmenter


def write_maps(
    trained: Segmenter | TrainedHead,
    cube: SpectralCube,
    folder: Path,
    stem: str,
    *,
    probabilities: bool,
    progress: Progress,
) -> NDArray[np.unsignedinteger[Any]]:
    """Predict a cube; write ``STEM_labels.tif`` and, if wanted, ``STEM_probabilities.tif``.

    In memory are the labels, one or two bytes for each pixel, and what the model needs. Beside them
    lie, meanwhile, files as large as the features and the probabilities.

    Args:
        trained: what `carl.learning.head_training.load_predictor` gave.
        cube: to be segmented.
        folder: where the files go.
        stem: of their names.
        probabilities: whether to write them.
        progress: told often; cancels by raising.

    Returns:
        (H, W) labels.

    Raises:
        CarlError: as `Segmenter.predict_tiles` and `TrainedHead.predict`.
        OSError: the folder cannot be written, or the disk is full.
    """
    values = [each.value for each in trained.classes]
    labels: NDArray[np.unsignedinteger[Any]] = np.zeros(
        cube.shape[:2], np.min_scalar_type(max(values))
    )
    with TemporaryDirectory(dir=folder, prefix=".") as scratch:
        planes = _Planes(Path(scratch, "probabilities"), (len(values), *labels.shape))
        for region, prediction in _pieces(trained, cube, Path(scratch, "features.npz"), progress):
            labels[region] = prediction.labels
            if probabilities:
                planes.write(region, prediction.probabilities)
        write_labels(folder / f"{stem}_labels.tif", labels, trained.classes)
        if probabilities:
            planes.save(folder / f"{stem}_probabilities.tif", trained.classes, progress)
    return labels


def _pieces(
    trained: Segmenter | TrainedHead, cube: SpectralCube, scratch: Path, progress: Progress
) -> Iterator[tuple[Region, Prediction]]:
    from carl.learning.features import EVERYWHERE
    from carl.learning.segmenter import Segmenter

    if isinstance(trained, Segmenter):
        yield from trained.predict_tiles(cube, scratch, progress=progress)
    else:
        yield EVERYWHERE, trained.predict(cube, progress=progress)


class _Planes:
    """Images of one size in a file of float32, written rectangle by rectangle.

    Not through a memory map: where a disk is full, that ends the program without a word.

    Args:
        path: of the file.
        shape: (images, H, W).
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._path = path
        self._shape = shape

    def write(self, region: Region, values: NDArray[np.float32]) -> None:
        """Write (h, w, images) values into rows and columns."""
        _, height, width = self._shape
        rows, columns = (range(n)[span] for n, span in zip((height, width), region, strict=True))
        self._path.touch()
        with self._path.open("r+b") as file:
            for plane in range(values.shape[2]):
                for row, of_row in zip(rows, values[..., plane], strict=True):
                    file.seek(4 * ((plane * height + row) * width + columns.start))
                    file.write(np.ascontiguousarray(of_row, np.float32).data)

    def save(self, path: Path, classes: Sequence[LabelClass], progress: Progress) -> None:
        """Write a TIFF with a page for each class, compressed."""
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
