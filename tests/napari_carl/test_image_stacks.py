"""Images of other readers as cubes: the axis of the bands, lazy pixels, wavelengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carl.errors import CubeError
from carl.io.series import wavelengths_of_names
from napari_carl.image_stacks import (
    ImageStack,
    StackedPixels,
    cube_of,
    find_band_axis,
)


class Source:
    """A lazy array that records the indices it is read with."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.read = []

    def __getitem__(self, key):
        self.read.append(key)
        return self.pixels[key]


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(0, 999, (5, 6, 7)).astype(np.uint16)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((31, 90, 80), 0), ((90, 80, 31), 2), ((40, 30, 40), 0), ((1, 90, 80), None), ((9, 9), None)],
)
def test_the_shorter_of_the_outer_axes_is_that_of_the_bands(shape, axis):
    assert find_band_axis(shape) == axis


def test_files_of_a_folder_are_bands_even_if_there_are_many(tmp_path):
    assert find_band_axis((90, 40, 30), tmp_path) == 0


@pytest.mark.parametrize("axis", [0, 2])
def test_pixels_are_those_of_the_image(values, axis):
    expected = np.moveaxis(values, axis, -1)
    for data in (values, Source(values)):
        cube = cube_of(ImageStack("image", data, axis))
        assert cube.wavelengths is None
        np.testing.assert_array_equal(cube.to_numpy(), expected)
        np.testing.assert_array_equal(cube.data[1:3, ::-2, 1:], expected[1:3, ::-2, 1:])


def test_a_lazy_image_is_not_read_before_the_cube_is_and_each_band_once(values):
    source = Source(values)
    cube = cube_of(ImageStack("image", source, 0))
    assert source.read == []

    for row in range(6):
        cube.read(rows=slice(row, row + 1))
    assert source.read == [(band,) for band in range(5)]


def test_bands_too_large_for_the_cache_are_read_in_part(values, monkeypatch):
    monkeypatch.setattr("napari_carl.image_stacks._CACHED_BYTES", 8)
    source = Source(values)
    block = StackedPixels(source, 0, "image")[2:4, 1:, 3:4]
    np.testing.assert_array_equal(block, np.moveaxis(values, 0, -1)[2:4, 1:, 3:4])
    assert source.read == [(3, slice(2, 4, 1), slice(1, 7, 1))]


class Missing(Source):
    def __getitem__(self, key):
        raise FileNotFoundError("450.tif")


class OtherSize(Source):
    def __getitem__(self, key):
        return super().__getitem__(key)[:-1]


@pytest.mark.parametrize("kind", [Missing, OtherSize])
def test_a_file_that_is_missing_or_of_another_size_is_one_sentence(values, kind):
    with pytest.raises(CubeError, match=r"image .*check that its files"):
        cube_of(ImageStack("image", kind(values), 0)).to_numpy()


def test_complex_values_are_refused():
    with pytest.raises(CubeError, match="complex"):
        cube_of(ImageStack("image", np.ones((3, 4, 5), complex), 0))


# ---- wavelengths


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["band_450nm", "band_550 nm".replace(" ", "")], [450, 550]),
        (["s2_0.45um", "s2_1.6um"], [450, 1600]),
        (["450", "500", "1000"], [450, 500, 1000]),
        (["scan3_450", "scan3_500"], [450, 500]),
        (["1nm", "2nm"], [1, 2]),
        (["1", "2", "3"], None),  # numbers of bands
        (["img_0450", "img_0451", "img_0452"], None),  # numbers of images
        (["a1_450", "a2_500"], None),  # two numbers differ
        (["red", "green"], None),
        (["450"], None),
    ],
)
def test_wavelengths_in_names_of_files(names, expected):
    found = wavelengths_of_names(names)
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected)


@pytest.fixture
def folder(tmp_path):
    """A folder with empty files of five bands, one with more digits than the others."""
    for nm in (450, 500, 550, 900, 1000):
        (tmp_path / f"band_{nm}nm.tif").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def stacked_wavelengths(path, values, n_bands=5):
    cube = cube_of(ImageStack("stack", Source(values[:n_bands]), 0, path))
    return None if cube.wavelengths is None else cube.wavelengths.tolist()


def test_wavelengths_are_in_the_order_in_which_napari_stacked_the_files(folder, values):
    first, last = folder / "band_450nm.tif", folder / "band_1000nm.tif"
    natural = [450, 500, 550, 900, 1000]
    assert stacked_wavelengths(first, values) == natural
    assert stacked_wavelengths(last, values) == [1000, 450, 500, 550, 900]  # sorted as text
    assert stacked_wavelengths(folder / "band_500nm.tif", values) is None  # an unknown order
    assert stacked_wavelengths(first, values, 4) is None  # some of the files
    assert stacked_wavelengths(folder, values) is None  # notes.txt would be one of the files
    (folder / "notes.txt").unlink()
    assert stacked_wavelengths(folder, values) == natural
    assert stacked_wavelengths(folder / "gone" / "band_450nm.tif", values) is None


def test_one_file_of_many_pages_has_no_wavelengths_from_its_neighbours(folder, values):
    cube = cube_of(ImageStack("pages", values, 0, folder / "band_450nm.tif"))
    assert cube.wavelengths is None


def test_wavelengths_of_the_metadata_come_first(folder, values):
    def opened(**metadata):
        path = Path(folder / "band_450nm.tif")
        return cube_of(ImageStack("stack", Source(values), 0, path, metadata))

    cube = opened(wavelengths=[0.4, 0.5, 0.6, 0.7, 0.8])
    np.testing.assert_allclose(cube.wavelengths, [400, 500, 600, 700, 800])
    assert cube.metadata["notes"] == (
        "The wavelengths, 5 bands, 400–800 nm, step 100 nm, are from the metadata of 'stack'.",
    )
    assert opened(wavelengths=[400, 500]).wavelengths[0] == 450  # for another number of bands
