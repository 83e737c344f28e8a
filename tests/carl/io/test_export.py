"""Exported files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from carl.cube import SpectralCube
from carl.errors import Cancelled, LabelError, OutputError
from carl.io import (
    ExportContent,
    LabelClass,
    default_classes,
    export_names,
    export_results,
    missing_extra,
    read_cube,
    read_labels,
)
from carl.io.export import mask_names
from carl.io.tables import class_means

CLASSES = (
    LabelClass(1, "lumen", (255, 0, 0)),
    LabelClass(2, "blood / vessel", (0, 255, 0)),
    LabelClass(7, "absent", (0, 0, 255)),
)


@pytest.fixture
def cube() -> SpectralCube:
    pixels = np.random.default_rng(1).random((50, 40, 3), np.float32)
    pixels[3, 4] = np.nan
    metadata = {"pixel_size": (2.0, 0.5), "pixel_unit": "µm"}
    return SpectralCube(pixels, [500, 600.5, 700], name="slide", metadata=metadata)


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((50, 40), np.uint8)
    labels[:5] = 1
    labels[20:40, 10:] = 2
    labels[45:] = 3
    return labels


def test_all_contents_are_written(tmp_path: Path, cube: SpectralCube, labels: np.ndarray) -> None:
    reported: list[float] = []
    files = export_results(
        tmp_path / "out", "slide", labels, CLASSES, cube,
        progress=lambda fraction, message: reported.append(fraction),
    )  # fmt: skip
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    assert {file.name for file in files} == {
        "slide_labels.tif", "slide_labels.png", "slide_classes.json", "slide_classes.csv",
        "slide_mask_lumen.png", "slide_mask_blood_vessel.png", "slide_mask_absent.png",
        "slide_mask_class_3.png",
    }  # fmt: skip
    assert reported == sorted(reported)
    assert reported[-1] == 1.0

    for name in ("slide_labels.tif", "slide_labels.png"):
        back = read_labels(tmp_path / "out" / name, cube.shape)
        assert np.array_equal(back.labels, labels)
        assert [c.name for c in back.classes] == ["lumen", "blood / vessel", "class 3", "absent"]
    with Image.open(tmp_path / "out" / "slide_mask_lumen.png") as mask:
        assert np.array_equal(np.array(mask), np.where(labels == 1, 255, 0))
    content = json.loads((tmp_path / "out" / "slide_classes.json").read_text("utf-8"))
    assert content["classes"][0] == {"value": 1, "name": "lumen", "colour": "#ff0000"}

    with (tmp_path / "out" / "slide_classes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["lumen", "blood / vessel", "class 3", "absent"]
    assert [int(row["pixels"]) for row in rows] == [200, 600, 200, 0]
    assert float(rows[1]["share"]) == pytest.approx(0.6)
    assert float(rows[1]["area"]) == pytest.approx(600.0)
    assert rows[1]["area_unit"] == "µm²"
    expected = np.nanmean(np.asarray(cube.data)[labels == 1], axis=0)
    means = [float(rows[0][column]) for column in ("mean_500", "mean_600.5", "mean_700")]
    np.testing.assert_allclose(means, expected, rtol=1e-5)
    assert rows[3]["mean_500"] == ""


def test_columns_of_unknown_properties_are_empty(tmp_path: Path, labels: np.ndarray) -> None:
    export_results(tmp_path, "a", labels, CLASSES, SpectralCube(np.ones((50, 40, 2))))
    with (tmp_path / "a_classes.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["area"], row["mean_band_1"], row["mean_band_2"]) == ("", "1", "1")


def test_class_means_do_not_depend_on_the_blocks(
    cube: SpectralCube, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = class_means(cube, labels, CLASSES)
    blocks = cube.row_blocks(7 * 40 * 3)
    assert len(blocks) > 2
    monkeypatch.setattr(SpectralCube, "row_blocks", lambda cube, max_values: blocks)
    assert whole.shape == (len(CLASSES), 3)
    np.testing.assert_allclose(class_means(cube, labels, CLASSES), whole)


def test_labels_of_another_size_are_refused(tmp_path: Path, cube: SpectralCube) -> None:
    with pytest.raises(LabelError, match="4 × 4 pixels but slide is 50 × 40"):
        export_results(tmp_path / "out", "a", np.ones((4, 4), int), CLASSES, cube)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop_at", [0.0, 0.9])
def test_a_cancelled_export_leaves_no_files(
    tmp_path: Path, cube: SpectralCube, labels: np.ndarray, stop_at: float
) -> None:
    def stop(fraction: float, message: str) -> None:
        if fraction >= stop_at:
            raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        export_results(tmp_path, "a", labels, CLASSES, cube, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_an_error(
    tmp_path: Path, cube: SpectralCube, labels: np.ndarray
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        export_results(tmp_path / "file", "a", labels, CLASSES, cube)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_mask_names_are_valid_and_unique() -> None:
    names = ["a/b", "a b", "Ünïcode", "..", "", "A_B", "fine"]
    classes = [LabelClass(value, name, (0, 0, 0)) for value, name in enumerate(names, 1)]
    assert mask_names(classes) == ["a_b_1", "a_b_2", "Ünïcode", "4", "5", "A_B_6", "fine"]


def test_only_the_requested_contents_are_written(
    tmp_path: Path, cube: SpectralCube, labels: np.ndarray
) -> None:
    files = export_results(tmp_path, "slide", labels, CLASSES, cube, contents=["pictures"])
    assert sorted(file.name for file in files) == ["slide_colour.png", "slide_overlay.png"]

    colours, overlay = (np.asarray(Image.open(file), float) for file in sorted(files))
    assert colours.shape == (50, 40, 3)
    np.testing.assert_array_equal(overlay[labels == 0], colours[labels == 0])
    lumen = next(known for known in CLASSES if known.value == 1)
    expected = (colours[labels == 1] + lumen.colour) / 2
    np.testing.assert_allclose(overlay[labels == 1], expected, atol=0.5)


def test_regions_are_connected_pixels_of_one_class(tmp_path: Path, cube: SpectralCube) -> None:
    labels = np.zeros((50, 40), np.uint8)
    labels[0, 0] = labels[1, 1] = 1  # touch at a corner
    labels[1, 0] = 2
    labels[10:12, 20:26] = 1
    export_results(tmp_path, "slide", labels, CLASSES, cube, contents=["regions"])
    with (tmp_path / "slide_regions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["pixels"], row["area"]) for row in rows] == [
        ("lumen", "2", "2"), ("blood / vessel", "1", "1"), ("lumen", "12", "12"),
    ]  # fmt: skip
    assert [rows[2][key] for key in ("row", "column", "first_row", "last_column")] == [
        "10.50", "22.50", "10", "25",
    ]  # fmt: skip
    assert rows[0]["area_unit"] == "µm²"
    assert [float(rows[2][key]) for key in ("perimeter", "major_axis", "solidity")] == [
        pytest.approx(value, rel=1e-5) for value in (12.0, np.sqrt(35 / 12) * 4, 1.0)
    ]
    expected = np.asarray(cube.data)[10:12, 20:26].mean(axis=(0, 1))
    means = [float(rows[2][column]) for column in ("mean_500", "mean_600.5", "mean_700")]
    np.testing.assert_allclose(means, expected, rtol=1e-5)


def test_every_content_is_written_under_its_planned_names(
    tmp_path: Path, cube: SpectralCube, labels: np.ndarray
) -> None:
    contents = get_args(ExportContent)
    files = export_results(tmp_path, "slide", labels, CLASSES, cube, contents=contents)
    classes = (*default_classes(labels), *CLASSES)
    assert {file.name for file in files} == set(export_names("slide", classes, contents))
    for name in ("slide_labels.geojson", "slide_coco.json", "slide_labels.seg.nrrd",
                 "slide_classification.hdr", "slide_seg.dcm"):  # fmt: skip
        back = read_labels(tmp_path / name, cube.shape)
        assert np.array_equal(back.labels, labels)
        assert [c.name for c in back.classes] == ["lumen", "blood / vessel", "class 3", "absent"]
    for name in ("slide_cube.hdr", "slide_cube.tif", "slide_cube.ome.tif"):
        np.testing.assert_array_equal(read_cube(tmp_path / name).to_numpy(), cube.to_numpy())


def test_a_format_without_its_packages_names_them_before_anything_is_written(
    tmp_path: Path, cube: SpectralCube, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carl.io.labels.label_format.find_spec", lambda name: None)
    assert missing_extra("dicom") == "dicom"
    assert missing_extra("nrrd") is None
    with pytest.raises(LabelError, match=r"napari-carl\[dicom\]"):
        export_results(tmp_path, "a", labels, CLASSES, cube, contents=["nrrd", "dicom"])
    assert list(tmp_path.iterdir()) == []
