"""The writer, called as by napari."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image, Labels

from carl.cube import SpectralCube
from carl.errors import CubeError, LabelError, OutputError
from carl.io import LabelClass, read_cube, read_labels
from napari_carl.layer_data import cube_layers
from napari_carl.writers import write_bands, write_labels

CLASSES = (LabelClass(1, "lumen", (9, 8, 7)), LabelClass(2, "blood", (1, 2, 3)))


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("suffix", [".tif", ".png", ".geojson", ".json", ".nrrd", ".hdr", ".dcm"])
def test_labels_layer_is_saved_with_its_classes(tmp_path: Path, suffix: str) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (6, 7))
    layer = Labels(labels, metadata={"carl": {"classes": CLASSES}})
    path = str(tmp_path / f"map{suffix}")
    assert layer.save(path, plugin="napari-carl") == [path]
    back = read_labels(path)
    assert np.array_equal(back.labels, labels)
    assert back.classes == CLASSES


@pytest.mark.usefixtures("plugin")
def test_pyramid_is_saved_at_its_finest_level(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (8, 6), np.uint8)
    layer = Labels([labels, labels[::2, ::2]], multiscale=True)
    layer.save(str(tmp_path / "map.tif"), plugin="napari-carl")
    assert np.array_equal(read_labels(tmp_path / "map.tif").labels, labels)


def test_layer_without_classes_is_saved_without_names(tmp_path: Path) -> None:
    path = str(tmp_path / "map.tif")
    assert write_labels(path, np.ones((3, 4), int), {"metadata": {}}) == [path]
    assert [file.name for file in tmp_path.iterdir()] == ["map.tif"]


def test_volumes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError):
        write_labels(str(tmp_path / "map.tif"), np.ones((2, 3, 4), int), {})
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_no_other_json_file(tmp_path: Path) -> None:
    attributes = {"metadata": {"carl": {"classes": CLASSES}}}
    labels = np.ones((3, 4), int)
    beside = tmp_path / "map.json"
    beside.write_text('{"wavelengths": [500, 600]}')
    (tmp_path / "map.tif").write_text("a cube")
    with pytest.raises(OutputError, match=r"map\.json exists"):
        write_labels(str(tmp_path / "map.tif"), labels, attributes)
    assert (tmp_path / "map.tif").read_text() == "a cube"
    assert beside.read_text() == '{"wavelengths": [500, 600]}'

    beside.unlink()
    write_labels(str(tmp_path / "map.tif"), labels, attributes)
    write_labels(str(tmp_path / "map.png"), labels, attributes)  # the same names
    other = {"metadata": {"carl": {"classes": CLASSES[:1]}}}
    with pytest.raises(OutputError, match=r"map\.json exists"):
        write_labels(str(tmp_path / "map.npy"), labels, other)
    write_labels(str(tmp_path / "map.tif"), labels, other)  # napari has asked about it
    assert read_labels(tmp_path / "map.tif").classes == CLASSES[:1]


@pytest.mark.usefixtures("plugin")
def test_bands_are_saved_as_a_cube(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((4, 5, 3), np.float32)
    cube = SpectralCube(pixels, [500, 600, 700], name="scan")
    ((bands, arguments, _), _) = cube_layers(cube)
    path = str(tmp_path / "saved.hdr")
    Image(bands, **arguments).save(path, plugin="napari-carl")
    back = read_cube(path)
    np.testing.assert_array_equal(back.to_numpy(), pixels)
    np.testing.assert_array_equal(back.wavelengths, cube.wavelengths)
    with pytest.raises(CubeError, match="'photo' is no spectral cube"):
        write_bands(path, pixels, {"name": "photo"})


def test_a_data_file_without_its_header_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "map.dat").write_text("a cube")
    with pytest.raises(OutputError, match=r"map\.dat exists"):
        write_labels(str(tmp_path / "map.hdr"), np.ones((3, 4), int), {})
    assert (tmp_path / "map.dat").read_text() == "a cube"
