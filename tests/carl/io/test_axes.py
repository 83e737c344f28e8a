"""Named axes in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carl.errors import CubeError
from carl.io.axes import arrange
from carl.io.joined_bands import JoinedBands
from carl.lazy_array import LazyArray

PIXELS = np.arange(4 * 5 * 3).reshape(4, 5, 3)
LAZY = JoinedBands([PIXELS], [(0, 0), (0, 1), (0, 2)])


@pytest.mark.parametrize(
    ("names", "band_axis"),
    [
        (("y", "x", "c"), 2),
        (("downtrack", "crosstrack", "bands"), 2),
        (("Latitude", "LONGITUDE", "Wavelength"), 2),
        ((None, None, "band"), 2),
        ((None, None, None), None),
        (("a", "b", "c"), 2),
        (("c", "band", "x"), None),
    ],
)
def test_axes_that_are_in_order_stay(names: tuple[str | None, ...], band_axis: int | None):
    arranged, found, _ = arrange(LAZY, names, Path("a.nc"))
    assert np.array_equal(arranged[...], PIXELS)
    assert found == band_axis


def test_named_axes_are_put_in_order():
    arranged, band_axis, _ = arrange(LAZY.transpose((1, 2, 0)), ("x", "c", "y"), Path("a.nc"))
    assert np.array_equal(arranged[...], PIXELS)
    assert band_axis == 2


def test_frames_of_length_one_are_dropped():
    class Stacked(LazyArray):
        def _read_block(self, block):
            return PIXELS[None, ..., None][block]

    arranged, _, _ = arrange(Stacked((1, 4, 5, 3, 1), int), ("t", "y", "x", "c", "z"), Path("a.nc"))
    assert np.array_equal(arranged[...], PIXELS)


def test_several_frames_are_an_error_with_their_names():
    with pytest.raises(CubeError, match=r"a\.nc holds several frames, along time of length 4,"):
        arrange(LAZY, ("time", "y", "x"), Path("a.nc"))


def test_frames_of_cubes_keep_their_names():
    class Film(LazyArray):
        def _read_block(self, block):
            return np.stack([PIXELS, PIXELS])[block]

    film, band_axis, names = arrange(
        Film((2, 4, 5, 3), int), ("Time", "lat", "lon", "Band"), Path("a.nc")
    )
    assert (film.shape, band_axis) == ((2, 4, 5, 3), None)
    assert names == ("time", "y", "x", "channel")
