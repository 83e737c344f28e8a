"""Label images of OME-Zarr: those of other programs, and those written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.io import LabelClass, is_label_map, is_readable, read_labels, write_labels

LABELS = (np.arange(60).reshape(6, 10) % 5).astype(np.uint16)
CLASSES = (LabelClass(1, "lumen", (230, 159, 0)), LabelClass(4, "strøma", (0, 158, 115)))


def write_image(
    path: Path, version: str = "0.4", shape: tuple[int, ...] = (1, 1, 1, 6, 10)
) -> Path:
    """Write a label image with the axes of a microscope's image, as ome-zarr does."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    pixels = np.broadcast_to(LABELS, shape)
    group.create_array("0", data=pixels.astype("i4"))
    axes = [{"name": name} for name in "tczyx"[-len(shape) :]]
    image: dict[str, Any] = {"axes": axes, "datasets": [{"path": "0"}]}
    described = {
        "colors": [{"label-value": 1, "rgba": [230, 159, 0, 255]}],
        "properties": [{"label-value": 1, "name": "lumen"}, {"label-value": 4, "area": 12}],
    }
    if version == "0.4":
        group.attrs.update({"multiscales": [{"version": version, **image}]})
        group.attrs["image-label"] = described
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image], "image-label": described}
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 6, 10), (1, 6, 10), (6, 10)])
def test_label_images_of_other_programs(tmp_path: Path, version: str, shape: tuple[int, ...]):
    path = write_image(tmp_path / "scan.zarr" / "labels" / "nuclei", version, shape)
    assert is_label_map(path)
    found = read_labels(path, (6, 10))
    assert np.array_equal(found.labels, LABELS)
    assert found.classes[0] == CLASSES[0]
    assert [each.value for each in found.classes] == [1, 2, 3, 4]


def test_round_trips_are_exact(tmp_path: Path):
    cube = SpectralCube(np.ones((6, 10, 3)), metadata={"pixel_size": (2, 3), "pixel_unit": "mm"})
    path = write_labels(tmp_path / "map.zarr", LABELS % 2 * 4 + LABELS // 4, CLASSES, cube)
    found = read_labels(path)
    assert np.array_equal(found.labels, LABELS % 2 * 4 + LABELS // 4)
    assert {CLASSES[0], CLASSES[1]} <= set(found.classes)
    image = zarr.open_group(path, mode="r").attrs["multiscales"][0]
    (transformation,) = image["datasets"][0]["coordinateTransformations"]
    assert transformation["scale"] == [2000, 3000]


def test_the_folder_of_all_label_images_opens_the_only_one(tmp_path: Path):
    folder = tmp_path / "scan.zarr" / "labels"
    write_image(folder / "nuclei")
    group = zarr.open_group(folder, mode="a", zarr_format=2)
    group.attrs["labels"] = ["nuclei"]
    assert np.array_equal(read_labels(folder).labels, LABELS)
    group.attrs["labels"] = ["nuclei", "cells"]
    with pytest.raises(LabelError, match=r"labels holds the label images nuclei, cells: open"):
        read_labels(folder)


def test_several_times_are_not_guessed(tmp_path: Path):
    path = write_image(tmp_path / "film", shape=(3, 1, 1, 6, 10))
    with pytest.raises(LabelError, match="several frames, along t of length 3"):
        read_labels(path)


@pytest.mark.parametrize("name", ["../other", "/etc"])
def test_label_images_outside_the_folder_are_refused(tmp_path: Path, name: str):
    write_image(tmp_path / "other")
    group = zarr.open_group(tmp_path / "labels", mode="w", zarr_format=2)
    group.attrs["labels"] = [name]
    with pytest.raises(LabelError, match="labels"):
        read_labels(tmp_path / "labels")


@pytest.mark.parametrize("entry", [{}, {"label-value": "1"}, {"label-value": -3}, 7])
def test_classes_without_a_value_are_refused(tmp_path: Path, entry: Any):
    path = write_image(tmp_path / "map")
    zarr.open_group(path, mode="a").attrs["image-label"] = {"colors": [entry]}
    with pytest.raises(LabelError, match="map"):
        read_labels(path)


def test_images_are_cubes_and_not_labels(tmp_path: Path):
    zarr.create_array(tmp_path / "scan.zarr", data=np.ones((3, 4, 5)))
    assert not is_label_map(tmp_path / "scan.zarr")
    assert is_readable(tmp_path / "scan.zarr")
