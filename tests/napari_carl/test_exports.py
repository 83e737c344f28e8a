"""Exporting the label map of a cube, and those of a folder of cubes."""

from __future__ import annotations

from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from carl.cube import SpectralCube
from carl.errors import Cancelled, CubeError, OutputError, WavelengthError
from carl.io import LabelClass, export_names, read_labels, write_cube
from carl.progress import no_progress
from napari_carl.exports import ExportRequest, export_folder, export_segmentation, find_cubes

CLASSES = (LabelClass(1, "lumen", (1, 2, 3)), LabelClass(2, "stroma", (4, 5, 6)))


NM = [500, 600, 700]
PIXELS = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)


class Halves:
    """A predictor of left and right, which needs wavelengths."""

    classes = CLASSES

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
    write_cube(tmp_path / "one.hdr", SpectralCube(PIXELS, NM))
    np.save(tmp_path / "two.npy", PIXELS)
    (tmp_path / "notes.txt").write_text("nothing to see")
    return tmp_path


@pytest.fixture
def cubes(tmp_path):
    """A folder of three cubes: x.hdr with x.dat, x.npy and y.npy."""
    made = tmp_path / "cubes"
    for name in ("x", "y"):
        write_cube(made / f"{name}.hdr", SpectralCube(PIXELS, NM, name=name))
    np.save(made / "x.npy", PIXELS)
    (made / "x_wavelengths.csv").write_text("500\n600\n700\n")
    return made


def request_for(folder, *, contents=("label map",), cubes=None):
    return ExportRequest(folder, contents, cubes)


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_cube_is_found_once(folder):
    assert [path.stem for path in find_cubes(folder)] == ["one", "two"]


def test_each_cube_of_one_name_is_found(tmp_path):
    write_cube(tmp_path / "x.hdr", SpectralCube(PIXELS, NM))
    (tmp_path / "x.dat").rename(tmp_path / "x.raw")
    tifffile.imwrite(tmp_path / "x.tif", PIXELS, photometric="minisblack")
    write_cube(tmp_path / "z.hdr", SpectralCube(PIXELS, NM))
    (tmp_path / "z.hdr").rename(tmp_path / "z.raw.hdr")
    (tmp_path / "z.dat").rename(tmp_path / "z.raw")
    assert [path.name for path in find_cubes(tmp_path)] == ["x.hdr", "x.tif", "z.raw"]


def test_a_cube_named_like_a_label_map_is_found(tmp_path):
    np.save(tmp_path / "plant_labels.npy", PIXELS)
    np.save(tmp_path / "soil.npy", PIXELS)
    np.save(tmp_path / "soil_labels.npy", PIXELS[..., 0])
    assert [path.stem for path in find_cubes(tmp_path)] == ["plant_labels", "soil"]


def test_a_folder_without_cubes_is_an_error(tmp_path):
    with pytest.raises(CubeError, match="no cubes"):
        find_cubes(tmp_path)
    with pytest.raises(CubeError, match="cannot be read"):
        find_cubes(tmp_path / "missing")


def test_cubes_that_fail_are_skipped_and_reported(folder):
    request = request_for(folder, cubes=folder)
    done = export_folder(request, Halves(), CLASSES, no_progress)

    assert [path.name for path in done.files] == [
        "one_classes.json",
        "one_labels.png",
        "one_labels.tif",
    ]
    assert done.cubes == ("one.hdr",)
    assert [(name, type(error)) for name, error in done.failures] == [("two.npy", WavelengthError)]
    assert set(np.unique(read_labels(folder / "one_labels.tif").labels)) == {1, 2}
    # Exported label maps are not taken for cubes.
    assert [path.stem for path in find_cubes(folder)] == ["one", "two"]


def test_a_defect_in_one_cube_loses_no_other(cubes, tmp_path):
    class Defective(Halves):
        def bind(self, cube, *, progress=no_progress):
            if cube.name == "x":
                raise ZeroDivisionError("division by zero")
            return super().bind(cube, progress=progress)

    done = export_folder(
        request_for(tmp_path / "out", cubes=cubes), Defective(), CLASSES, no_progress
    )
    assert done.cubes == ("y.hdr",)
    assert [name for name, _ in done.failures] == ["x.hdr", "x.npy"]
    assert sorted(done.files) == sorted((tmp_path / "out").iterdir())


def test_an_export_can_be_cancelled(folder):
    def progress(fraction, message):
        if message == "Halves":
            raise Cancelled("Enough.")

    request = request_for(folder / "out", contents=("masks",), cubes=folder)
    with pytest.raises(Cancelled):
        export_folder(request, Halves(), CLASSES, progress)
    assert not (folder / "out").exists()


def test_cubes_of_one_name_are_written_to_different_files(cubes, tmp_path):
    out = tmp_path / "out"
    done = export_folder(request_for(out, cubes=cubes), Halves(), CLASSES, no_progress)
    stems = ("x_hdr", "x_npy", "y")
    expected = {name for stem in stems for name in export_names(stem, CLASSES, ("label map",))}
    assert {path.name for path in done.files} == set(files_in(out)) == expected
    assert len(done.cubes) == 3


def test_nothing_is_written_where_files_exist_unless_the_user_agrees(cubes, tmp_path):
    out = tmp_path / "out"
    request = request_for(out, cubes=cubes)
    export_folder(request, Halves(), CLASSES[:1], no_progress)
    (out / "x_npy_labels.png").unlink()
    before = files_in(out)

    asked = export_folder(request, Halves(), CLASSES, no_progress)
    assert (asked.files, asked.cubes) == ((), ())
    assert {path.name for path in asked.existing} == set(before)
    assert files_in(out) == before

    both = export_folder(request.keeping_existing(), Halves(), CLASSES, no_progress)
    assert {path.name for path in both.files} == set(files_in(out)) - set(before)
    assert {path.name.split("_")[0] for path in both.files} == {"x", "y"}
    assert before.items() <= files_in(out).items()

    # Permission is given for files, so that one which came later is asked about.
    agreed = request.overwriting(asked.existing)
    (out / "x_npy_labels.png").write_text("came later")
    again = export_folder(agreed, Halves(), CLASSES, no_progress)
    assert again.existing == (out / "x_npy_labels.png",)
    (out / "x_npy_labels.png").unlink()
    assert len(export_folder(agreed, Halves(), CLASSES, no_progress).files) == 9
    assert set(files_in(out)) == set(before) | {path.name for path in both.files} | {
        "x_npy_labels.png"
    }


def test_a_cube_is_never_replaced_by_a_label_map(tmp_path):
    cubes = tmp_path / "cubes"
    cubes.mkdir()
    for name in ("a.tif", "a_mask.tif"):
        tifffile.imwrite(cubes / name, PIXELS, photometric="minisblack")
    (cubes / "a_labels.tif").symlink_to(cubes / "a_mask.tif")
    request = request_for(cubes, cubes=cubes)
    before = files_in(cubes)
    for each in (request, request.overwriting([cubes / "a_labels.tif"])):
        with pytest.raises(OutputError, match="would be replaced"):
            export_folder(each, Halves(), CLASSES, no_progress)
    assert files_in(cubes) == before


@pytest.fixture
def one_cube():
    """A cube and its segmentation."""
    cube = SpectralCube(PIXELS, NM, name="tissue")
    complete = Event()
    complete.set()
    labels = np.ones((6, 8), np.uint8)
    return cube, SimpleNamespace(predictor=Halves(), labels=labels, complete=complete)


def test_the_second_cube_of_a_name_does_not_replace_the_first(one_cube, tmp_path):
    request = request_for(tmp_path, contents=("label map", "masks"))
    done = export_segmentation(request, *one_cube, CLASSES, no_progress)
    before = files_in(tmp_path)
    assert len(done.files) == len(before) == 5

    asked = export_segmentation(request, *one_cube, CLASSES, no_progress)
    assert asked.files == ()
    assert set(asked.existing) == set(done.files)
    assert files_in(tmp_path) == before

    both = export_segmentation(request.keeping_existing(), *one_cube, CLASSES, no_progress)
    assert "tissue_2_labels.tif" in {path.name for path in both.files}
    third = export_segmentation(request.keeping_existing(), *one_cube, CLASSES, no_progress)
    assert "tissue_3_labels.tif" in {path.name for path in third.files}
    assert before.items() <= files_in(tmp_path).items()


def test_every_class_gets_a_mask_of_its_own(one_cube, tmp_path):
    names = ["x", "x", "x_1", "X", "con", "", "a" * 300]
    classes = [LabelClass(value, name, (0, 0, 0)) for value, name in enumerate(names, 1)]
    cube, result = one_cube
    result.labels[0, :7] = np.arange(1, 8)
    request = request_for(tmp_path, contents=("masks", "label map", "table"))
    done = export_segmentation(request, cube, result, classes, no_progress)

    masks = [path for path in done.files if "_mask_" in path.name]
    assert len({path.name.lower() for path in masks}) == len(names)
    assert [known.name for known in read_labels(tmp_path / "tissue_labels.tif").classes] == names
    assert sorted(tmp_path.iterdir()) == sorted(done.files)
