"""The reader, called as by napari."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

import napari_carl
from carl.cube import SpectralCube
from carl.io import (
    READABLE_SUFFIXES,
    LabelClass,
    export_results,
    write_cube,
    write_labels,
    zarr_output,
)
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


def test_folders_are_read_as_one_cube_each(tmp_path: Path) -> None:
    cube = SpectralCube(PIXELS, [620, 550, 460])
    zarr_output.write(tmp_path / "tissue.zarr", cube)
    write_cube(tmp_path / "scan" / "raw_0.hdr", cube)
    (tmp_path / "letters").mkdir()
    assert get_reader(str(tmp_path / "letters")) is None
    for folder, name in (("tissue.zarr", "tissue"), ("scan", "scan")):
        path = str(tmp_path / folder)
        read = get_reader(path)
        assert read is not None
        (bands, arguments, _), _ = read(path)
        assert bands.shape == (3, 4, 5)
        assert arguments["name"] == name


def test_manifest_lists_every_format() -> None:
    manifest = PluginManifest.from_file(Path(napari_carl.__file__).parent / "napari.yaml")
    (reader,) = manifest.contributions.readers
    cubes = {f"*{suffix}" for suffix in READABLE_SUFFIXES}
    # Other PNG files are pictures: for these napari should not ask which plugin reads them.
    labels = {"*_labels.png", "*.geojson", "*_coco.json", "*.nrrd", "*.dcm"}
    assert set(reader.filename_patterns) == cubes | labels


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


LABELS = np.array([[0, 1, 1, 2, 2], [0, 0, 1, 2, 2], [0, 0, 0, 0, 9], [0, 0, 0, 0, 0]], np.uint8)
CLASSES = (
    LabelClass(1, "lumen", (230, 159, 0)),
    LabelClass(2, "blood", (255, 0, 0)),
    LabelClass(9, "nerve", (0, 0, 255)),
)


def assert_label_layer(layers: list[Layer], name: str) -> None:
    (layer,) = layers
    assert isinstance(layer, Labels)
    assert layer.name == name
    np.testing.assert_array_equal(layer.data, LABELS)
    assert layer.metadata["carl"]["classes"] == CLASSES
    for known in CLASSES:
        np.testing.assert_allclose(layer.get_color(known.value), [*np.divide(known.colour, 255), 1])
    assert not layer.colormap.color_dict[0].any()  # transparent
    assert layer.features["class"].tolist() == ["unlabelled", "lumen", "blood", "nerve"]


@pytest.mark.usefixtures("plugin")
def test_exported_label_maps_are_opened_as_labels(tmp_path: Path) -> None:
    cube = SpectralCube(np.random.default_rng(0).random((4, 5, 3)), [620, 550, 460])
    export_results(tmp_path, "slide", LABELS, CLASSES, cube)
    for suffix in (".tif", ".png"):
        layers = ViewerModel().open(tmp_path / f"slide_labels{suffix}", plugin="napari-carl")
        assert_label_layer(layers, "slide_labels")


@pytest.mark.parametrize(
    "name", ["a.geojson", "a_coco.json", "a.seg.nrrd", "a.dcm", "a_classification.hdr"]
)
def test_label_maps_for_other_programs_are_opened_as_labels(tmp_path: Path, name: str) -> None:
    labels = np.arange(20).reshape(4, 5) % 3
    classes = (LabelClass(1, "lumen", (9, 8, 7)), LabelClass(2, "blood", (1, 2, 3)))
    opened = str(write_labels(tmp_path / name, labels, classes))
    read = get_reader(opened)
    assert read is not None
    ((data, arguments, kind),) = read(opened)
    assert kind == "labels"
    assert np.array_equal(data, labels)
    assert arguments["metadata"]["carl"]["classes"] == classes


def test_other_json_and_dicom_files_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "a_coco.json").write_text('{"wavelengths": [500]}')
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 300)
    for name in ("a_coco.json", "a.dcm"):
        assert get_reader(str(tmp_path / name)) is None


@pytest.mark.parametrize("name", ["map.tif", "map.npy"])
@pytest.mark.usefixtures("plugin")
def test_label_maps_saved_from_napari_are_opened_as_labels(tmp_path: Path, name: str) -> None:
    write_labels(tmp_path / name, LABELS, CLASSES)
    layers = ViewerModel().open(tmp_path / name, plugin="napari-carl")
    assert_label_layer(layers, "map")


@pytest.mark.parametrize("opened", ["map.hdr", "map.img"])
@pytest.mark.usefixtures("plugin")
def test_envi_classifications_are_opened_as_labels(tmp_path: Path, opened: str) -> None:
    LABELS.tofile(tmp_path / "map.img")
    names = [f"c{value}" for value in range(10)]
    colours = [0] * 30
    for known in CLASSES:
        names[known.value] = known.name
        colours[3 * known.value : 3 * known.value + 3] = known.colour
    (tmp_path / "map.hdr").write_text(
        "ENVI\nsamples = 5\nlines = 4\nbands = 1\ndata type = 1\ninterleave = bsq\n"
        "file type = ENVI Classification\nclasses = 10\n"
        f"class names = {{{', '.join(names)}}}\n"
        f"class lookup = {{{', '.join(map(str, colours))}}}\n"
    )
    (layer,) = ViewerModel().open(tmp_path / opened, plugin="napari-carl")
    named = {known.value: known for known in layer.metadata["carl"]["classes"]}
    assert [named[known.value] for known in CLASSES] == list(CLASSES)
    np.testing.assert_array_equal(layer.data, LABELS)


@pytest.mark.usefixtures("plugin")
def test_labels_without_class_names_are_no_cube(tmp_path: Path) -> None:
    write_labels(tmp_path / "old_labels.tif", LABELS)
    (layer,) = ViewerModel().open(tmp_path / "old_labels.tif", plugin="napari-carl")
    assert isinstance(layer, Labels)
    assert [known.name for known in layer.metadata["carl"]["classes"]] == [
        "class 1",
        "class 2",
        "class 9",
    ]


@pytest.mark.parametrize("damage", ["classes", "pixels"])
@pytest.mark.usefixtures("plugin")
def test_damaged_label_map_ends_in_one_sentence(tmp_path: Path, damage: str) -> None:
    write_labels(tmp_path / "slide_labels.png", LABELS, CLASSES)
    suffix = ".json" if damage == "classes" else ".png"
    (tmp_path / f"slide_labels{suffix}").write_bytes(b"damaged")
    viewer = ViewerModel()
    before = len(notification_manager.records)
    assert viewer.open(tmp_path / "slide_labels.png", plugin="napari-carl") == []
    (notification,) = notification_manager.records[before:]
    assert "slide_labels" in notification.message


@pytest.mark.usefixtures("plugin")
def test_cube_and_its_labels_are_dropped_together(path: str, tmp_path: Path) -> None:
    write_labels(tmp_path / "tissue_labels.png", LABELS, CLASSES)
    layers = ViewerModel().open([path, tmp_path / "tissue_labels.png"], plugin="napari-carl")
    assert [type(layer).__name__ for layer in layers] == ["Image", "Image", "Labels"]
