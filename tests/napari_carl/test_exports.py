"""Exporting the label maps of a folder of cubes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import Cancelled, CubeError, WavelengthError
from carl.io import LabelClass, read_labels, write_cube
from carl.progress import no_progress
from napari_carl.exports import export_folder, find_cubes

CLASSES = (LabelClass(1, "lumen", (1, 2, 3)), LabelClass(2, "stroma", (4, 5, 6)))


class Halves:
    """A predictor of left and right, which needs wavelengths."""

    def bind(self, cube, *, progress=no_progress):
        progress(0.5, "Halves")
        cube.require_wavelengths()
        labels = np.ones(cube.shape[:2], np.uint8)
        labels[:, cube.shape[1] // 2 :] = 2
        return SimpleNamespace(
            windows=[(slice(0, 2), slice(None)), (slice(2, None), slice(None))],
            predict_window=lambda region, progress: SimpleNamespace(labels=labels[region]),
        )


@pytest.fixture
def folder(tmp_path):
    """Two cubes, one of them without wavelengths, and other things beside them."""
    pixels = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)
    write_cube(tmp_path / "one.hdr", SpectralCube(pixels, [500, 600, 700]))
    np.save(tmp_path / "two.npy", pixels)
    (tmp_path / "notes.txt").write_text("nothing to see")
    return tmp_path


def test_each_cube_is_found_once(folder):
    assert [path.stem for path in find_cubes(folder)] == ["one", "two"]


def test_a_folder_without_cubes_is_an_error(tmp_path):
    with pytest.raises(CubeError, match="no cubes"):
        find_cubes(tmp_path)


def test_cubes_that_fail_are_skipped_and_reported(folder):
    done = export_folder(folder, folder, Halves(), CLASSES, ["label map"], no_progress)

    assert [path.name for path in done.files] == [
        "one_classes.json",
        "one_labels.png",
        "one_labels.tif",
    ]
    assert [type(failure) for failure in done.failures] == [WavelengthError]
    assert set(np.unique(read_labels(folder / "one_labels.tif").labels)) == {1, 2}
    # Exported label maps are not taken for cubes.
    assert [path.stem for path in find_cubes(folder)] == ["one", "two"]


def test_an_export_can_be_cancelled(folder):
    def progress(fraction, message):
        if message == "Halves":
            raise Cancelled("Enough.")

    with pytest.raises(Cancelled):
        export_folder(folder / "out", folder, Halves(), CLASSES, ["masks"], progress)
    assert not (folder / "out").exists()
