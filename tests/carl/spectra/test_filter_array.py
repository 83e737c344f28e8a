"""Cubes from raw frames of snapshot cameras."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import CubeError
from carl.io import read_cube
from carl.spectra.filter_array import demosaic, demosaic_interpolated
from carl.wavelengths import FilterArray, camera


def recorded(cube, array, height, width):
    """The frame in which each pixel sees the band of its filter, 0 before the first pattern."""
    frame = np.zeros((height, width), cube.dtype)
    for row in range(array.first_row, height):
        for column in range(array.first_column, width):
            cell = ((row - array.first_row) % array.rows) * array.columns
            cell += (column - array.first_column) % array.columns
            frame[row, column] = cube[row, column, cell]
    return frame


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3), st.data())
def test_every_value_of_whole_patterns_is_in_its_band(rows, columns, top, left, data):
    height = top + rows * data.draw(st.integers(1, 3)) + data.draw(st.integers(0, rows - 1))
    width = left + columns * data.draw(st.integers(1, 3)) + data.draw(st.integers(0, columns - 1))
    array = FilterArray(rows, columns, top, left)
    frame = np.arange(height * width).reshape(height, width)
    cube = demosaic(frame, array)
    assert cube.shape == ((height - top) // rows, (width - left) // columns, rows * columns)
    for row, column, cell in np.ndindex(*cube.shape):
        at = top + row * rows + cell // columns, left + column * columns + cell % columns
        assert cube[row, column, cell] == frame[at]


def test_bands_of_linear_images_are_interpolated_exactly_between_their_pixels():
    array = FilterArray(4, 4, 1, 2)
    slope = np.add.outer(np.arange(33.0), 2 * np.arange(38.0))
    cube = slope[..., None] + 100 * np.arange(16)
    full = demosaic_interpolated(recorded(cube, array, 33, 38), array)
    assert full.shape == (33, 38, 16)
    np.testing.assert_allclose(full[4:25, 5:30], cube[4:25, 5:30], rtol=1e-5)


def test_a_frame_smaller_than_a_pattern_is_refused():
    with pytest.raises(CubeError, match="does not hold a pattern of 5 × 5 filters"):
        demosaic(np.zeros((4, 100)), FilterArray(5, 5))


@pytest.mark.parametrize("name", ["ximea-4x4-vis", "ximea-5x5-nir"])
def test_a_raw_frame_becomes_the_cube_of_its_camera(tmp_path, name):
    known = camera(name)
    rows, columns = known.filter_array.rows, known.filter_array.columns
    frame = np.random.default_rng(0).integers(0, 1023, (10 * rows, 12 * columns), np.uint16)
    tifffile.imwrite(tmp_path / "raw.tif", frame)
    cube = read_cube(tmp_path / "raw.tif", camera=name)
    assert cube.shape == (10, 12, known.n_bands)
    assert cube.data.dtype == np.uint16
    np.testing.assert_array_equal(cube.wavelengths, known.wavelengths)
    np.testing.assert_array_equal(cube.read()[..., 1], frame[::rows, 1::columns])
    assert any("raw frame" in note for note in cube.metadata["notes"])

    with pytest.raises(CubeError, match="two-dimensional"):
        read_cube(tmp_path / "raw.tif", camera="tivita")
