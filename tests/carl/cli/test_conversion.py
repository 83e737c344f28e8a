"""Commands that write cubes and label maps in other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carl.io import read_cube, read_labels


def test_labels_are_exported_for_other_programs(
    call_json, cube_path: Path, labels_path: Path, tmp_path: Path
):
    out = tmp_path / "out"
    result = call_json(
        "export", cube_path, labels_path, "-o", out, "--format", "geojson, NRRD,ome-tiff cube"
    )
    names = ["two_cube.ome.tif", "two_labels.geojson", "two_labels.seg.nrrd"]
    assert result["files"] == [str(out / name) for name in names]
    labels = read_labels(labels_path)
    for name in names[1:]:
        np.testing.assert_array_equal(read_labels(out / name).labels, labels.labels)


def test_existing_files_are_replaced_only_on_request(
    call, cube_path: Path, labels_path: Path, tmp_path: Path
):
    command = ("export", cube_path, labels_path, "-o", tmp_path, "--format", "table,coco")
    (tmp_path / "two_coco.json").write_text("mine")
    status, _, err = call(*command)
    assert status == 2
    assert "two_coco.json exists: give another name, or --overwrite" in err
    assert not (tmp_path / "two_classes.csv").exists()
    assert (tmp_path / "two_coco.json").read_text() == "mine"
    assert call(*command, "--overwrite")[0] == 0
    assert (tmp_path / "two_classes.csv").exists()


def test_an_unknown_format_is_refused(call, cube_path: Path, labels_path: Path, tmp_path: Path):
    status, _, err = call("export", cube_path, labels_path, "-o", tmp_path, "--format", "jpeg")
    assert status == 2
    assert "There is no format 'jpeg': choose from label map" in err


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.hdr", "a.zarr"])
def test_cubes_are_converted(call_json, cube_path: Path, tmp_path: Path, name: str):
    call_json("convert", cube_path, tmp_path / name)
    converted, cube = read_cube(tmp_path / name), read_cube(cube_path)
    np.testing.assert_array_equal(converted.to_numpy(), cube.to_numpy())
    np.testing.assert_array_equal(converted.wavelengths, cube.wavelengths)


@pytest.mark.parametrize("name", ["a.geojson", "a.json", "a.nrrd", "a.hdr", "a.npy", "a.zarr"])
def test_label_maps_are_converted(call_json, labels_path: Path, tmp_path: Path, name: str):
    call_json("convert", labels_path, tmp_path / name, "--labels")
    labels = read_labels(labels_path)
    np.testing.assert_array_equal(read_labels(tmp_path / name).labels, labels.labels)


def test_a_conversion_replaces_no_input_and_nothing_unasked(
    call, cube_path: Path, labels_path: Path, tmp_path: Path
):
    status, _, err = call("convert", cube_path.with_suffix(".dat"), cube_path, "--overwrite")
    assert (status, "is an input" in err) == (2, True)
    (tmp_path / "a.dat").write_text("mine")
    status, _, err = call("convert", labels_path, tmp_path / "a.hdr", "--labels")
    assert (status, "a.dat exists" in err) == (2, True)
    assert (tmp_path / "a.dat").read_text() == "mine"
