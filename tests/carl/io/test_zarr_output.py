"""Cubes written as OME-Zarr and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from carl.cube import SpectralCube
from carl.errors import OutputError
from carl.io import read_cube, zarr_output


def described(**changes: Any) -> SpectralCube:
    numbers = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "data": numbers.integers(0, 4000, (150, 140, 40)).astype(np.uint16),
        "wavelengths": numbers.permutation(np.linspace(400, 1001.3, 40)),
        "fwhm": np.linspace(3, 9, 40),
        "good_bands": np.arange(40) % 7 != 3,
        "name": "leaf",
        "metadata": {"pixel_size": (0.25, 0.5), "pixel_unit": "mm"},
        "scale": np.linspace(1e-4, 2e-4, 40),
        "offset": 0.1,
        "nodata": 17.0,
    }
    return SpectralCube(**(fields | changes))


def assert_same(found: SpectralCube, cube: SpectralCube) -> None:
    assert found.data.dtype == np.dtype(cube.data.dtype).newbyteorder("=")
    assert np.array_equal(found.data[...], np.asarray(cube.data), equal_nan=True)
    for name in ("wavelengths", "fwhm", "good_bands", "scale", "offset", "nodata"):
        np.testing.assert_array_equal(getattr(found, name), getattr(cube, name), err_msg=name)
    for name in ("pixel_size", "pixel_unit"):
        assert found.metadata.get(name) == cube.metadata.get(name)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_round_trips_are_exact(tmp_path: Path, version: zarr_output.Version):
    (path,) = zarr_output.write(tmp_path / "a.zarr", described(), version=version)
    assert_same(read_cube(path), described())


@pytest.mark.parametrize("dtype", ["?", "i1", ">u2", "i4", "u8", "f2", ">f4", "f8"])
def test_every_type_of_number_is_kept(tmp_path: Path, dtype: str):
    data = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)
    bare = SpectralCube(data)
    assert_same(read_cube(*zarr_output.write(tmp_path / "a.zarr", bare)), bare)


def test_missing_values_stay_missing(tmp_path: Path):
    data = np.full((3, 4, 5), np.nan, np.float32)
    cube = SpectralCube(data, nodata=float("nan"))
    found = read_cube(*zarr_output.write(tmp_path / "a.zarr", cube))
    assert np.isnan(found.read()).all()


def test_viewers_find_axes_labels_and_pixel_size(tmp_path: Path):
    (path,) = zarr_output.write(tmp_path / "a.zarr", described(wavelengths=np.arange(400.0, 440)))
    attributes = json.loads((path / ".zattrs").read_text())
    (image,) = attributes["multiscales"]
    assert image["version"] == "0.4"
    assert [axis["name"] for axis in image["axes"]] == ["c", "y", "x"]
    assert image["axes"][1] == {"name": "y", "type": "space", "unit": "millimeter"}
    (transformation,) = image["datasets"][0]["coordinateTransformations"]
    assert transformation == {"type": "scale", "scale": [1.0, 0.25, 0.5]}
    labels = [channel["label"] for channel in attributes["omero"]["channels"]]
    assert labels[:2] == ["400 nm", "401 nm"]
    array = zarr.open_group(path, mode="r")["0"]
    assert array.shape == (40, 150, 140)
    assert array.chunks == (32, 128, 128)


def test_an_older_zarr_folder_is_replaced_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.zarr"
    zarr_output.write(path, described())
    (path / "old").write_text("x")
    zarr_output.write(path, SpectralCube(np.ones((2, 3, 4))))
    assert read_cube(path).shape == (2, 3, 4)
    assert not (path / "old").exists()
    other = tmp_path / "mine.zarr"
    other.mkdir()
    (other / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match=r"mine\.zarr exists and is no Zarr folder"):
        zarr_output.write(other, described())
    assert (other / "letter.txt").read_text() == "x"


def test_a_cube_can_replace_itself(tmp_path: Path):
    path = tmp_path / "a.zarr"
    zarr_output.write(path, described())
    zarr_output.write(path, read_cube(path))
    assert_same(read_cube(path), described())
