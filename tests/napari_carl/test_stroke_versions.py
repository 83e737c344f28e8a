"""Saved versions of strokes: damaged files, files of version 0.1, files of a newer version."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from carl.cube import SpectralCube
from carl.inference import cube_key
from carl.io import LabelClass, read_labels, write_labels
from napari_carl.stroke_versions import StrokeVersions

CLASSES = [LabelClass(1, "lumen", (1, 2, 3)), LabelClass(2, "Gefäß", (4, 5, 6))]


@pytest.fixture
def saved(make_cube, strokes, carl_home):
    """A cube with saved strokes, and their file."""
    cube = make_cube()
    versions = StrokeVersions(cube)
    versions.save(strokes, CLASSES)
    versions.close()
    (path,) = carl_home.rglob("*.tif")
    return cube, path


def test_strokes_and_classes_are_one_file_that_other_programs_open(saved, strokes):
    cube, path = saved
    latest = StrokeVersions(cube).latest

    np.testing.assert_array_equal(latest.strokes.labels, strokes)
    assert list(latest.strokes.classes) == CLASSES
    np.testing.assert_array_equal(tifffile.imread(path), strokes)
    assert [child.name for child in path.parent.iterdir() if child != path] == [".lock"]


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9])
def test_a_damaged_version_is_reported_and_stays(saved, position):
    cube, path = saved
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 0xFF
    path.write_bytes(content)

    versions = StrokeVersions(cube)

    assert versions.latest is None
    (error,) = versions.unreadable
    assert path.name in str(error)
    versions.save(np.ones((12, 16), np.uint8), CLASSES)
    assert path.exists()


def test_a_version_of_newer_software_is_reported(saved):
    cube, path = saved
    with tifffile.TiffFile(path) as file:
        header = json.loads(file.pages.first.description)
    assert header["version"] == 1
    # A newer version may change anything but the name of the format and its version.
    text = json.dumps({"format": header["format"], "version": 2})
    tifffile.imwrite(path, np.ones((12, 16), np.uint8), description=text, metadata=None)

    (error,) = StrokeVersions(cube).unreadable
    assert "newer version" in str(error)


def test_strokes_saved_by_version_0_1_are_read(make_cube, strokes, carl_home):
    cube = make_cube()
    key = cube_key(SpectralCube(cube.data))
    write_labels(carl_home / "strokes" / f"{key}.tif", strokes, CLASSES)

    versions = StrokeVersions(cube)
    np.testing.assert_array_equal(versions.latest.strokes.labels, strokes)
    versions.save(2 * strokes, CLASSES)
    versions.close()

    versions = StrokeVersions(cube)
    np.testing.assert_array_equal(versions.latest.strokes.labels, 2 * strokes)
    np.testing.assert_array_equal(versions.saved[0].read().labels, strokes)
    assert read_labels(carl_home / "strokes" / f"{key}.tif").labels.max() == 2


def test_a_folder_without_versions_is_removed(make_cube, carl_home):
    versions = StrokeVersions(make_cube())
    versions.close()

    assert not any((carl_home / "strokes").iterdir())


def test_an_earlier_version_takes_the_place_of_a_damaged_one(saved, strokes):
    cube, path = saved
    second = StrokeVersions(cube)
    second.save(2 * strokes, CLASSES)
    second.close()
    (newer,) = set(path.parent.glob("*.tif")) - {path}
    content = bytearray(newer.read_bytes())
    content[-20] ^= 0xFF
    newer.write_bytes(content)

    versions = StrokeVersions(cube)

    np.testing.assert_array_equal(versions.latest.strokes.labels, strokes)
    assert [newer.name in str(error) for error in versions.unreadable] == [True]
    assert newer.exists()
