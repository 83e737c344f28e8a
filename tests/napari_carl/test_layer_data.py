"""Layer data of cubes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image

from carl.cube import SpectralCube
from napari_carl.layer_data import (
    BandStack,
    band_stack,
    colour_layer,
    cube_layer,
    cube_layers,
    finest,
    preview_step,
    pyramid,
)

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint16).reshape(4, 5, 3)


@given(data=st.data())
def test_band_stack_reads_physical_values_for_any_index(data: st.DataObject) -> None:
    cube = SpectralCube(PIXELS, scale=np.array([0.5, 1.0, 2.0]), offset=1.0, nodata=7)
    expected = np.moveaxis(cube.to_numpy(), -1, 0)
    stack = band_stack(cube)
    assert (stack.shape, stack.ndim, stack.size, len(stack)) == ((3, 4, 5), 3, 60, 3)
    assert stack.dtype == np.float32
    key = tuple(
        data.draw(st.integers(-length, length - 1) | st.slices(length)) for length in stack.shape
    )
    np.testing.assert_array_equal(stack[key], expected[key])
    np.testing.assert_array_equal(np.asarray(stack), expected)


def test_contrast_limits_ignore_outliers_and_missing_values() -> None:
    pixels = np.random.default_rng(0).random((60, 60, 4), np.float32)
    pixels[0, 0, 0], pixels[1] = 1e9, np.nan
    low, high = cube_layer(SpectralCube(pixels))[1]["contrast_limits"]
    assert 0 <= low < 0.05
    assert 0.95 < high <= 1
    assert cube_layer(SpectralCube(np.ones((3, 3, 3))))[1]["contrast_limits"] == (1.0, 2.0)


def test_layers_can_be_created_from_any_cube() -> None:
    for cube in (SpectralCube(PIXELS), SpectralCube(PIXELS[..., :1], [1600.0], nodata=3)):
        for data, arguments, _ in cube_layers(cube):
            assert Image(data, **arguments).name == arguments["name"]
    assert cube_layers(SpectralCube(PIXELS))[1][1]["name"].endswith("false colour")


def test_coarse_picture_covers_the_same_area_as_the_cube() -> None:
    cube = SpectralCube(np.random.default_rng(0).random((30, 44, 5)), np.linspace(450, 650, 5))
    pixels, arguments, _ = colour_layer(cube, 2)
    assert pixels.shape == (15, 22, 3)
    coarse, fine = Image(pixels, **arguments), Image(colour_layer(cube)[0], rgb=True)
    outwards = np.array([[-0.5], [0.5]])  # napari's extent goes from centre to centre
    np.testing.assert_allclose(
        coarse.extent.world + outwards * coarse.scale, fine.extent.world + outwards
    )
    assert fine.data.shape == (30, 44, 3)


def test_the_step_of_a_preview_bounds_the_values_read(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = SpectralCube(np.zeros((30, 44, 5)))
    for limit, step in ((30 * 44 * 5, 1), (30 * 44 * 5 - 1, 2), (30 * 44 * 5 // 4, 2)):
        monkeypatch.setattr("napari_carl.layer_data._PREVIEW_VALUES", limit)
        assert preview_step(cube) == step


@given(data=st.data(), step=st.integers(1, 4))
def test_coarse_band_stack_takes_every_nth_pixel(data: st.DataObject, step: int) -> None:
    pixels = np.arange(9 * 11 * 2, dtype=np.uint16).reshape(9, 11, 2)
    cube = SpectralCube(pixels, scale=0.5)
    stack = BandStack(cube, step)
    expected = np.moveaxis(cube.to_numpy(), -1, 0)[:, ::step, ::step]
    assert stack.shape == expected.shape
    key = tuple(
        data.draw(st.integers(-length, length - 1) | st.slices(length)) for length in stack.shape
    )
    np.testing.assert_array_equal(stack[key], expected[key])


def test_layers_of_a_large_cube_are_pyramids() -> None:
    small = SpectralCube(np.zeros((1024, 1024, 2), np.uint8))
    assert not cube_layer(small)[1]["multiscale"]
    pixels = np.random.default_rng(0).integers(1, 9, (1025, 1300, 2), np.uint8)
    for cube in (SpectralCube(pixels), SpectralCube(pixels, scale=2.0)):
        data, arguments, _ = cube_layer(cube)
        layer = Image(data, **arguments)
        assert layer.data.shapes == ((2, 1025, 1300), (2, 513, 650), (2, 257, 325))
        np.testing.assert_array_equal(data[1][1], 2.0 ** (cube.scale == 2) * pixels[::2, ::2, 1])
    labels = pixels[..., 0]
    assert finest(pyramid(labels, small)) is labels
    levels = pyramid(labels, SpectralCube(pixels))
    assert all(np.shares_memory(level, labels) for level in levels)
    assert finest(levels).shape == labels.shape
