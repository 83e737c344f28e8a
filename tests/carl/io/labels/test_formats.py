"""Reading and writing of label maps and their classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from carl.errors import LabelError, OutputError
from carl.files import resource_path
from carl.io import LabelClass, default_classes, default_colour, read_labels, write_labels

CLASSES = (LabelClass(1, "lumen", (1, 2, 3)), LabelClass(3, "Gefäß / vessel", (255, 0, 128)))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".TIFF"])
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    labels=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int64]),
        hnp.array_shapes(min_dims=2, max_dims=2),
        elements=st.integers(0, 255),
    )
    | hnp.arrays(np.uint16, (3, 4))
)
def test_label_maps_round_trip(tmp_path: Path, suffix: str, labels: np.ndarray) -> None:
    path = write_labels(tmp_path / f"map{suffix}", labels)
    back = read_labels(path, labels.shape)
    assert np.array_equal(back.labels, labels)
    assert back.classes == default_classes(labels)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_classes_are_written_beside_the_label_map(tmp_path: Path, suffix: str) -> None:
    labels = np.array([[0, 1], [3, 2]])
    path = write_labels(tmp_path / f"map{suffix}", labels, CLASSES)
    known = read_labels(path).classes
    assert known == (CLASSES[0], LabelClass(2, "class 2", default_colour(2)), CLASSES[1])


def test_png_files_store_the_colours_of_the_classes(tmp_path: Path) -> None:
    write_labels(tmp_path / "map.png", np.array([[0, 1], [3, 2]]), CLASSES)
    with Image.open(tmp_path / "map.png") as image:
        colours = np.array(image.convert("RGB"))
    assert colours.tolist() == [[[0, 0, 0], [1, 2, 3]], [[255, 0, 128], list(default_colour(2))]]


def test_classes_of_an_exported_label_map_are_read(tmp_path: Path) -> None:
    write_labels(tmp_path / "a_labels.tif", np.ones((2, 2), int))
    write_labels(tmp_path / "a.png", np.ones((2, 2), int), CLASSES)
    (tmp_path / "a.json").rename(tmp_path / "a_classes.json")
    assert read_labels(tmp_path / "a_labels.tif").classes == CLASSES


def test_colours_can_be_lists_and_in_american_spelling(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", np.ones((2, 2), int))
    content = {
        "classes": [{"value": 1, "name": "x", "color": [9, 8, 7]}, {"value": 2, "name": "y"}]
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_labels(tmp_path / "a.tif").classes == (
        LabelClass(1, "x", (9, 8, 7)),
        LabelClass(2, "y", default_colour(2)),
    )


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"classes": 3}',
        '{"classes": [{"value": 0, "name": "x"}]}',
        '{"classes": [{"value": 1}]}',
        '{"classes": [{"value": 1, "name": "x", "colour": "#12"}]}',
    ],
)
def test_errors_name_invalid_class_files(tmp_path: Path, content: str) -> None:
    write_labels(tmp_path / "a.tif", np.ones((2, 2), int))
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(LabelError, match=r"a\.json"):
        read_labels(tmp_path / "a.tif")


def test_the_size_is_checked_against_the_cube(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "a.tif", np.ones((2, 3), int))
    assert read_labels(path, (2, 3, 40)).labels.shape == (2, 3)
    with pytest.raises(LabelError, match=r"a\.tif is 2 × 3 pixels but the cube is 3 × 2"):
        read_labels(path, (3, 2))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 2)) + 0.5, "whole numbers"),
        (np.full((2, 2), np.nan), "whole numbers"),
        (np.full((2, 2), -1), "from -1"),
        (np.full((2, 2), 70_000), "70000"),
        (np.zeros((2, 3, 4), int), "one whole number per pixel"),
        (np.zeros(5, int), "one whole number per pixel"),
        (np.zeros((0, 5), int), "one whole number per pixel"),
        (np.full((2, 2), "a"), "whole numbers"),
    ],
)
def test_arrays_that_are_not_label_maps_are_refused(
    tmp_path: Path, labels: Any, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        write_labels(tmp_path / "a.tif", labels)
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(LabelError, match=rf"a\.npy.*{message}"):
        read_labels(tmp_path / "a.npy")


def test_a_colour_picture_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(LabelError, match="is a colour picture"):
        read_labels(tmp_path / "a.png")


def test_axes_of_length_one_are_dropped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4, 1), np.uint16))
    assert read_labels(tmp_path / "a.npy", (3, 4)).labels.shape == (3, 4)
    tifffile.imwrite(tmp_path / "a.tif", np.ones((1, 3, 4), np.float32))
    assert read_labels(tmp_path / "a.tif").labels.dtype == np.uint8


def test_missing_files_and_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="does not exist"):
        read_labels(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(LabelError, match=r"a\.txt is not a label map"):
        read_labels(tmp_path / "a.txt")
    with pytest.raises(LabelError, match=r"must end in \.tif"):
        write_labels(tmp_path / "a.jpg", np.ones((2, 2), int))


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_labels(tmp_path / "file" / "a.tif", np.ones((2, 2), int))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_default_colours_differ() -> None:
    colours = [default_colour(value) for value in range(1, 60)]
    assert len(set(colours)) == len(colours)
    assert all(0 <= part <= 255 for colour in colours for part in colour)


def test_real_label_maps_are_read(real_cubes: Path) -> None:
    known = read_labels(resource_path("sample", "bladder_labels.png"), (676, 844))
    assert [c.value for c in known.classes] == [1, 2, 3, 4]
    land = read_labels(real_cubes / "sentinel2_eolearn" / "LULC.npy", (101, 100, 13))
    assert [c.value for c in land.classes] == [1, 2, 3, 4, 8]
