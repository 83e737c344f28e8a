"""The reader, called as by napari."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

import napari_carl
from carl.cube import SpectralCube
from carl.io import READABLE_SUFFIXES, write_cube
from napari_carl.layer_data import BandStack
from napari_carl.readers import get_reader

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint16).reshape(4, 5, 3)


@pytest.fixture
def path(tmp_path: Path) -> str:
    cube = SpectralCube(PIXELS, [620, 550, 460])
    return str(write_cube(tmp_path / "tissue.hdr", cube)[0])


def test_three_bands_are_read_as_a_cube_with_a_picture_above(path: str) -> None:
    read = get_reader(path)
    assert read is not None
    (bands, arguments, kind), (picture, on_top, _) = read(path)
    assert kind == "image"
    assert bands.shape == (3, 4, 5)
    assert isinstance(bands, BandStack)
    assert arguments["rgb"] is False
    assert np.array_equal(arguments["metadata"]["carl"]["cube"].data, PIXELS)
    assert picture.shape == (4, 5, 3)
    assert picture.dtype == np.uint8
    assert (arguments["name"], on_top["name"]) == ("tissue", "tissue colour")
    assert on_top["metadata"]["carl"]["picture_of"] is arguments["metadata"]["carl"]["cube"]


def test_manifest_lists_every_format() -> None:
    manifest = PluginManifest.from_file(Path(napari_carl.__file__).parent / "napari.yaml")
    (reader,) = manifest.contributions.readers
    assert {pattern[1:] for pattern in reader.filename_patterns} == set(READABLE_SUFFIXES)


def test_notes_of_a_file_are_shown(path: str) -> None:
    header = Path(path).read_text(encoding="utf-8").replace("550.0", "-1")
    Path(path).write_text(header, encoding="utf-8")
    before = len(notification_manager.records)
    read = get_reader(path)
    assert read is not None
    assert len(read(path)) == 2
    (notification,) = notification_manager.records[before:]
    assert notification.message.startswith("tissue: The wavelengths in the file were ignored.")


def test_several_files_are_read_in_one_call(path: str) -> None:
    read = get_reader([path, path])
    assert read is not None
    assert len(read([path, path])) == 4


def test_other_files_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"#?RADIANCE")
    for other in ("a.hdr", "b.hdr", "c.png"):
        assert get_reader(str(tmp_path / other)) is None
    assert get_reader([]) is None


@pytest.mark.parametrize("damage", ["cut off", "nan"])
@pytest.mark.usefixtures("plugin")
def test_bad_file_ends_in_one_sentence(path: str, damage: str) -> None:
    if damage == "nan":
        write_cube(path, SpectralCube(np.full((4, 5, 3), np.nan)))
    else:
        Path(path).with_suffix(".dat").write_bytes(b"cut off")
    viewer = ViewerModel()
    before = len(notification_manager.records)
    assert viewer.open(path, plugin="napari-carl") == []
    assert len(viewer.layers) == 0
    (notification,) = notification_manager.records[before:]
    assert "tissue" in notification.message
    assert notification.message.count(".\n") == 0


@pytest.mark.usefixtures("plugin")
def test_napari_shows_the_bands_with_a_slider(path: str) -> None:
    viewer = ViewerModel()
    viewer.open(path, plugin="napari-carl")
    assert [layer.name for layer in viewer.layers] == ["tissue", "tissue colour"]
    assert viewer.dims.range[0][1] == 2
    viewer.dims.set_point(0, 2)
    assert viewer.layers[0].get_value((2, 1, 1)) == PIXELS[1, 1, 2]
