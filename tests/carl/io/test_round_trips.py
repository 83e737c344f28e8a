"""What each format keeps of cubes and label maps that are written, read, and opened elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import nrrd
import numpy as np
import pydicom
import pytest
import shapely
import spectral
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from carl.cube import SpectralCube
from carl.io import LabelClass, default_classes, read_cube, read_labels, write_cube, write_labels
from carl.io.georeference import Georeference
from carl.io.labels.dicom import write_probabilities
from carl.io.labels.outlines import trace_regions
from carl.spectra.colour import true_colour

HEIGHT, WIDTH = 9, 11
CLASSES = (
    LabelClass(1, "lumen", (1, 2, 3)),
    LabelClass(3, "Gefäß / vessel", (255, 0, 128)),
    LabelClass(7, "absent", (0, 0, 255)),
)
UTM = Georeference((4e5, 5e6), (30.0, 20.0), 32632)


@dataclass(frozen=True)
class LabelCase:
    """A format of label maps.

    Attributes:
        suffix: of its files.
        pixels: returns the pixels as another program reads them.
        loses_commas: whether names lose commas and braces.
    """

    suffix: str
    pixels: Callable[[Path], Any]
    loses_commas: bool = False


def coco_pixels(path: Path) -> np.ndarray:
    """Return the pixels of the masks, from their definition: runs down the columns."""
    content = json.loads(path.read_text("utf-8"))
    labels = np.zeros((HEIGHT, WIDTH), int)
    for annotation in content["annotations"]:
        counts = annotation["segmentation"]["counts"]
        inside = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
        inside = np.append(inside, np.zeros(HEIGHT * WIDTH - inside.size, bool))
        mask = inside.reshape(WIDTH, HEIGHT).T
        rows, columns = np.nonzero(mask)
        size = [np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == [columns.min(), rows.min(), *size]
        assert annotation["area"] == mask.sum()
        labels[mask] = annotation["category_id"]
    return labels


def geojson_pixels(path: Path) -> np.ndarray:
    """Return the pixels whose centres the polygons contain."""
    content = json.loads(path.read_text("utf-8"))
    values = {each.name: each.value for each in (*default_classes(np.arange(256)), *CLASSES)}
    labels = np.zeros((HEIGHT, WIDTH), int)
    centres = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1) + 0.5
    for feature in content["features"]:
        polygon = shapely.geometry.shape(feature["geometry"])
        inside = shapely.contains_xy(polygon, centres[..., 0], centres[..., 1])
        labels[inside] = values[feature["properties"]["classification"]["name"]]
    return labels


def dicom_pixels(path: Path) -> np.ndarray:
    """Return the pixels of a segmentation as highdicom reads them, by the numbers of its segments.

    The classes follow from the descriptions of the segments.
    """
    found = highdicom.seg.segread(path)
    labels = np.zeros((found.Rows, found.Columns), int)
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    for frame, group in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        description = found.get_segment_description(number).SegmentDescription
        labels[frame == 1] = int(description.split()[1].rstrip(":"))
    return labels


LABEL_CASES = (
    LabelCase(".tif", tifffile.imread),
    LabelCase(".png", lambda path: np.asarray(Image.open(path))),
    LabelCase(".npy", np.load),
    LabelCase(".hdr", lambda path: spectral.open_image(str(path)).read_band(0), loses_commas=True),
    LabelCase(".geojson", geojson_pixels),
    LabelCase(".json", coco_pixels),
    LabelCase(".dcm", dicom_pixels),
    LabelCase(".seg.nrrd", lambda path: nrrd.read(str(path), index_order="C")[0][0]),
)


@pytest.mark.parametrize("case", LABEL_CASES, ids=lambda case: case.suffix)
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(labels=hnp.arrays(np.uint8, (HEIGHT, WIDTH), elements=st.integers(0, 5)))
def test_labels_names_and_colours_are_kept(
    tmp_path: Path, case: LabelCase, labels: np.ndarray
) -> None:
    cube = SpectralCube(np.zeros((HEIGHT, WIDTH, 2)), [500, 600])
    path = write_labels(tmp_path / f"map{case.suffix}", labels, CLASSES, cube)
    np.testing.assert_array_equal(np.squeeze(case.pixels(path)), labels)
    expected = {each.value: each for each in (*default_classes(labels), *CLASSES)}
    for shape in (None, (HEIGHT, WIDTH, 2)):
        back = read_labels(path, shape)
        np.testing.assert_array_equal(back.labels, labels)
        assert back.classes == tuple(expected[value] for value in sorted(expected))


@pytest.mark.parametrize("case", LABEL_CASES, ids=lambda case: case.suffix)
def test_unusual_names_and_large_values_are_kept(tmp_path: Path, case: LabelCase) -> None:
    names = ["a, b {c}", "tab\tand \\n", "日本語", '"quoted" <&>']
    values = [1, 2, 300, 65535 if case.suffix != ".hdr" else 400]
    classes = [
        LabelClass(value, name, (9, 8, 7)) for value, name in zip(values, names, strict=True)
    ]
    labels = np.tile(np.array([0, *values], np.uint16), (2, 1))
    back = read_labels(write_labels(tmp_path / f"map{case.suffix}", labels, classes))
    np.testing.assert_array_equal(back.labels, labels)
    if case.loses_commas:
        names[:2] = ["a; b (c)", "tab and \\n"]
    assert [each.name for each in back.classes] == names


@settings(max_examples=60, deadline=None)
@given(
    labels=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.integers(0, 2),
    )
)
def test_outlines_are_valid_polygons_of_the_area_of_their_regions(labels: np.ndarray) -> None:
    regions = trace_regions(labels)
    polygons = [shapely.Polygon(each.rings[0], each.rings[1:]) for each in regions]
    assert all(polygon.is_valid and polygon.exterior.is_ccw for polygon in polygons)
    for value in (1, 2):
        area = sum(p.area for p, r in zip(polygons, regions, strict=True) if r.value == value)
        assert area == np.count_nonzero(labels == value)


@dataclass(frozen=True)
class CubeCase:
    """A format of cubes.

    Attributes:
        name: of its files.
        pixels: returns the (H, W, C) numbers as another program reads them.
        keeps_stored: whether stored numbers, scale, widths and bad bands are kept; otherwise
            physical values.
        keeps_georeference: whether it has room for one.
    """

    name: str
    pixels: Callable[[Path], Any]
    keeps_stored: bool = True
    keeps_georeference: bool = True


CUBE_CASES = (
    CubeCase("scan.hdr", lambda path: spectral.open_image(str(path)).open_memmap()),
    CubeCase("scan.tif", lambda path: np.moveaxis(tifffile.imread(path), 0, -1)),
    CubeCase(
        "scan.ome.tif",
        lambda path: np.moveaxis(tifffile.imread(path), 0, -1),
        keeps_stored=False,
        keeps_georeference=False,
    ),
    CubeCase(
        "scan.zarr",
        lambda path: np.moveaxis(zarr.open_group(path, mode="r")["0"][...], 0, -1),
        keeps_georeference=False,
    ),
)


@pytest.mark.parametrize("case", CUBE_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", ["u1", "u2", ">i2", "f4", "f8", "?"])
def test_pixels_and_bands_of_cubes_are_kept(tmp_path: Path, case: CubeCase, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 100, (HEIGHT, WIDTH, 5)).astype(dtype)
    cube = SpectralCube(pixels, [500, 512.25, 600, 700, 850], name="scan")
    files = write_cube(tmp_path / case.name, cube)
    assert sorted(files) == sorted(tmp_path.iterdir())
    np.testing.assert_array_equal(case.pixels(files[0]), pixels)
    back = read_cube(files[0])
    np.testing.assert_array_equal(back.to_numpy(), cube.to_numpy())
    np.testing.assert_array_equal(back.wavelengths, cube.wavelengths)


@pytest.mark.parametrize("case", CUBE_CASES, ids=lambda case: case.name)
def test_scale_missing_values_and_bad_bands_are_kept(tmp_path: Path, case: CubeCase) -> None:
    pixels = np.random.default_rng(0).integers(1, 10_000, (HEIGHT, WIDTH, 4)).astype(np.uint16)
    pixels[2, 3] = 0
    cube = SpectralCube(
        pixels, [500, 600, 700, 800], fwhm=[5, 6, 7, 8], good_bands=[1, 0, 1, 1], scale=1e-4,
        nodata=0,
    )  # fmt: skip
    back = read_cube(write_cube(tmp_path / case.name, cube)[0])
    np.testing.assert_allclose(back.to_numpy(), cube.to_numpy(), rtol=1e-6)
    if case.keeps_stored:
        np.testing.assert_array_equal(back.data[...], pixels)
        assert back.nodata == 0
        np.testing.assert_array_equal(back.fwhm, cube.fwhm)
        np.testing.assert_array_equal(back.good_bands, cube.good_bands)


@pytest.mark.parametrize("case", CUBE_CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "georeference", [UTM, Georeference((7.5, 48.25), (0.001, 0.002), 4326)], ids=["UTM", "WGS 84"]
)
def test_position_on_the_earth_is_kept(
    tmp_path: Path, case: CubeCase, georeference: Georeference
) -> None:
    cube = SpectralCube(
        np.ones((HEIGHT, WIDTH, 3), "f4"), [500, 600, 700], metadata={"georeference": georeference}
    )
    back = read_cube(write_cube(tmp_path / case.name, cube)[0])
    if not case.keeps_georeference:
        assert "georeference" not in back.metadata
        return
    found = back.metadata["georeference"]
    assert (found.corner, found.step, found.epsg) == (
        georeference.corner, georeference.step, georeference.epsg,
    )  # fmt: skip
    again = read_cube(write_cube(tmp_path / f"again_{case.name}", back)[0])
    assert again.metadata["georeference"] == found


@pytest.mark.parametrize("source", ["scan.hdr", "scan.tif"])
def test_position_on_the_earth_survives_a_change_of_format(tmp_path: Path, source: str) -> None:
    cube = SpectralCube(np.ones((4, 5, 3), "f4"), metadata={"georeference": UTM})
    first = read_cube(write_cube(tmp_path / source, cube)[0])
    other = {"scan.hdr": "other.tif", "scan.tif": "other.hdr"}[source]
    found = read_cube(write_cube(tmp_path / other, first)[0]).metadata
    assert found["georeference"].epsg == 32632
    assert found["pixel_size"] == (20.0, 30.0)
    labels = write_labels(tmp_path / "map.tif", np.ones((4, 5), int), cube=first)
    with tifffile.TiffFile(labels) as file:
        assert file.geotiff_metadata["ProjectedCSTypeGeoKey"] == 32632
        assert file.geotiff_metadata["ModelPixelScale"][:2] == [30.0, 20.0]


@pytest.mark.parametrize("case", CUBE_CASES, ids=lambda case: case.name)
def test_size_of_a_pixel_is_kept(tmp_path: Path, case: CubeCase) -> None:
    metadata = {"pixel_size": (0.65, 1.3), "pixel_unit": "µm"}
    cube = SpectralCube(np.ones((4, 5, 3), "f4"), metadata=metadata)
    back = read_cube(write_cube(tmp_path / case.name, cube)[0]).metadata
    metres = {"m": 1.0, "µm": 1e-6}[back["pixel_unit"]]
    np.testing.assert_allclose(np.array(back["pixel_size"]) * metres, [0.65e-6, 1.3e-6])
    volume = write_labels(tmp_path / "map.nrrd", np.ones((4, 5), int), cube=cube)
    _, header = nrrd.read(str(volume))
    np.testing.assert_allclose(header["space directions"], np.diag([1.3e-3, 0.65e-3, 1]))


def test_qupath_finds_what_its_documentation_lists(tmp_path: Path) -> None:
    labels = np.zeros((5, 5), int)
    labels[:4, :4] = 1
    labels[1, 1] = 0
    content = json.loads(write_labels(tmp_path / "a.geojson", labels, CLASSES).read_text("utf-8"))
    assert content["type"] == "FeatureCollection"
    (feature,) = content["features"]
    assert feature["type"] == "Feature"
    assert feature["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "lumen", "color": [1, 2, 3]},
    }
    outline, hole = feature["geometry"]["coordinates"]
    assert outline == [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
    assert sorted(hole[1:]) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_slicer_finds_its_segments(tmp_path: Path) -> None:
    labels = np.zeros((5, 6), int)
    labels[1:3, 2:6] = 3
    _, header = nrrd.read(str(write_labels(tmp_path / "a.seg.nrrd", labels, CLASSES[:2])))
    assert header["Segment0_Name"] == "lumen"
    assert header["Segment1_LabelValue"] == "3"
    assert header["Segment1_Extent"] == "2 5 1 2 0 0"
    assert [float(level) for level in header["Segment1_Color"].split()] == pytest.approx(
        [1.0, 0.0, 128 / 255], abs=1e-6
    )


def test_a_dicom_segmentation_refers_to_the_picture_beside_it(tmp_path: Path) -> None:
    metadata = {"pixel_size": (0.5, 0.25), "pixel_unit": "mm"}
    pixels = np.random.default_rng(0).random((6, 5, 8), np.float32)
    cube = SpectralCube(pixels, np.linspace(420, 680, 8), metadata=metadata)
    labels = np.arange(30).reshape(6, 5) % 3
    found = highdicom.seg.segread(write_labels(tmp_path / "scan_seg.dcm", labels, CLASSES, cube))
    picture = pydicom.dcmread(tmp_path / "scan_colour.dcm")
    np.testing.assert_array_equal(picture.pixel_array, true_colour(cube))
    assert list(picture.PixelSpacing) == [0.5, 0.25]
    reference = found.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert reference.ReferencedSOPInstanceUID == picture.SOPInstanceUID
    assert found.FrameOfReferenceUID == picture.FrameOfReferenceUID
    segment = found.get_segment_description(1)
    assert segment.segment_label == "lumen"
    assert segment.segmented_property_type.meaning == "Tissue"


def test_probabilities_are_a_parametric_map(tmp_path: Path) -> None:
    labels = np.arange(30).reshape(6, 5) % 3
    write_labels(tmp_path / "scan_seg.dcm", labels, CLASSES)
    probabilities = np.random.default_rng(0).random((6, 5, 2), np.float32)
    path = tmp_path / "scan_probabilities.dcm"
    picture = pydicom.dcmread(tmp_path / "scan_colour.dcm")
    write_probabilities(path, probabilities, CLASSES[:2], picture)
    found = pydicom.dcmread(path)
    stored = np.frombuffer(found.FloatPixelData, "<f4").reshape(2, 6, 5)
    np.testing.assert_array_equal(np.moveaxis(stored, 0, -1), probabilities)


def test_shapes_of_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "qupath.geojson"
    square = [[0.2, 0.2], [3.4, 0.2], [3.4, 2.6], [0.2, 2.6], [0.2, 0.2]]
    features = [
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[square]]},
         "properties": {"classification": {"names": ["Tumor", "Positive"], "color": [1, 2, 3]}}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square]},
         "properties": {}},
    ]  # fmt: skip
    path.write_text(json.dumps(features[:1]))
    known = read_labels(path, (4, 6))
    expected = np.zeros((4, 6), int)
    expected[0:3, 0:3] = 1
    np.testing.assert_array_equal(known.labels, expected)
    assert known.classes == (LabelClass(1, "Tumor: Positive", (1, 2, 3)),)
    path.write_text(json.dumps(features[1]))
    assert read_labels(path, (4, 6)).classes[0].name == "unclassified"

    coco = tmp_path / "labels.json"
    coco.write_text(json.dumps({
        "images": [{"id": 5, "height": 4, "width": 6}],
        "categories": [{"id": 2, "name": "cell"}],
        "annotations": [
            {"image_id": 5, "category_id": 2, "segmentation": [np.ravel(square[:-1]).tolist()]}
        ],
    }))  # fmt: skip
    np.testing.assert_array_equal(read_labels(coco).labels, 2 * expected)
