"""Colour pictures: known colours, missing data, cameras outside the visible range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2lab

from carl.cube import SpectralCube
from carl.errors import CubeError, WavelengthError
from carl.files import resource_path
from carl.io import read_cube, read_labels
from carl.spectra.colour import (
    band_composite,
    colour_matching_functions,
    colour_matching_weights,
    covers_visible,
    evenly_spaced_bands,
    nearest_band,
    true_colour,
)

VISIBLE = np.arange(380.0, 781, 10)


def cube_of(spectra: np.ndarray, nm: np.ndarray | None = VISIBLE) -> SpectralCube:
    """Return a cube of one row with (N, C) spectra."""
    return SpectralCube(np.asarray(spectra, np.float32)[None], nm)


def test_matching_functions_are_close_to_the_cie_1931_tables():
    x, y, z = colour_matching_functions(np.array([450.0, 500, 555, 600, 650]))
    np.testing.assert_allclose(x, [0.3362, 0.0049, 0.5121, 1.0622, 0.2835], atol=0.03)
    np.testing.assert_allclose(y, [0.0380, 0.3230, 1.0000, 0.6310, 0.1070], atol=0.03)
    np.testing.assert_allclose(z, [1.7721, 0.2720, 0.0057, 0.0008, 0.0000], atol=0.03)


@given(
    st.lists(st.floats(380, 780), min_size=3, max_size=40),
    st.randoms(use_true_random=False),
)
def test_flat_spectra_are_grey_for_any_bands_in_any_order(nm, random):
    nm = sorted({*nm, 400.0, 500.0, 600.0, 700.0})
    random.shuffle(nm)
    levels = np.array([0.0, 0.2122, 1.0])
    picture = true_colour(cube_of(np.tile(levels[:, None], len(nm)), np.array(nm)))
    np.testing.assert_array_equal(picture[0], [[0] * 3, [127] * 3, [255] * 3])


@given(st.lists(st.floats(380, 780), min_size=1, max_size=30))
def test_colour_weights_sum_to_one(nm):
    np.testing.assert_allclose(colour_matching_weights(np.array(nm)).sum(axis=0), 1)


def test_irregular_bands_give_the_colour_of_regular_ones():
    def spectrum(nm):
        return 0.1 + 0.8 * (nm > 560) + 0.1 * (nm > 450)

    irregular = np.sort(np.random.default_rng(0).uniform(380, 780, 300))
    regular = np.arange(380.0, 781)
    one = true_colour(cube_of(np.stack([spectrum(irregular), np.ones(300)]), irregular))
    other = true_colour(cube_of(np.stack([spectrum(regular), np.ones(401)]), regular))
    np.testing.assert_allclose(one.astype(int), other.astype(int), atol=5)


def test_narrow_bands_have_the_hue_of_their_wavelength():
    lights = np.exp(-0.5 * ((VISIBLE - np.array([[630.0], [530], [460]])) / 15) ** 2)
    picture = true_colour(cube_of(np.concatenate([lights, np.ones((1, VISIBLE.size))])))
    np.testing.assert_array_equal(picture[0, :3].argmax(axis=-1), [0, 1, 2])


def test_reflectance_is_shown_unscaled_and_counts_are_scaled():
    grey = np.full((100, VISIBLE.size), 0.2122)
    white = np.ones((5, VISIBLE.size))
    reflectance = np.concatenate([grey, white])
    np.testing.assert_array_equal(true_colour(cube_of(reflectance))[0, 0], [127] * 3)
    np.testing.assert_array_equal(
        true_colour(cube_of(reflectance * 4000)), true_colour(cube_of(reflectance))
    )


def test_missing_values_are_left_out():
    spectra = np.ones((3, VISIBLE.size))
    spectra[1, ::3] = np.nan
    spectra[2] = np.nan
    spectra[0, 5] = np.inf
    picture = true_colour(cube_of(spectra))
    np.testing.assert_array_equal(picture[0], [[255] * 3, [255] * 3, [0] * 3])


def test_bad_bands_do_not_change_the_colour():
    spectra = np.ones((4, VISIBLE.size))
    spectra[:, 20] = 50
    good = np.arange(VISIBLE.size) != 20
    cube = SpectralCube(spectra[None].astype(np.float32), VISIBLE, good_bands=good)
    np.testing.assert_array_equal(true_colour(cube), 255)


def test_a_cube_without_data_is_black():
    assert not true_colour(cube_of(np.full((4, VISIBLE.size), np.nan))).any()
    assert not band_composite(cube_of(np.full((4, VISIBLE.size), np.nan)), (0, 1, 2)).any()


@pytest.mark.parametrize(
    ("nm", "visible"),
    [
        (VISIBLE, True),
        (np.array([842.0, 665, 560, 492]), True),  # a satellite, unsorted
        (np.linspace(500, 1000, 100), True),  # a tissue camera
        (np.linspace(900, 1700, 64), False),
        (np.array([450.0, 460, 700]), False),  # a hole in the middle
        (np.array([550.0, 600]), False),
        (None, False),
    ],
)
def test_coverage_of_the_visible_range(nm, visible):
    n_bands = 7 if nm is None else nm.size
    cube = cube_of(np.random.default_rng(0).random((50, n_bands)), nm)
    assert covers_visible(cube) is visible
    if not visible and n_bands > 2:
        np.testing.assert_array_equal(
            true_colour(cube), band_composite(cube, evenly_spaced_bands(cube))
        )


@pytest.mark.parametrize("n_bands", [1, 2, 3, 4])
def test_cubes_of_few_bands_have_a_picture(n_bands):
    cube = cube_of(np.random.default_rng(0).random((50, n_bands)), None)
    picture = true_colour(cube)
    assert picture.shape == (1, 50, 3)
    assert picture.min() == 0
    assert picture.max() == 255


def test_evenly_spaced_bands_start_with_the_longest_wavelength():
    cube = cube_of(np.zeros((1, 6)), np.array([900.0, 800, 700, 600, 500, 400]))
    assert evenly_spaced_bands(cube) == (0, 2, 4)


def test_a_composite_shows_the_given_bands():
    ramp = np.linspace(0, 5000, 200)
    cube = cube_of(np.stack([ramp, -ramp, np.full(200, 7.0)], axis=-1), None)
    picture = band_composite(cube, (0, 1, 2))
    assert np.all(np.diff(picture[0, :, 0].astype(int)) >= 0)
    np.testing.assert_array_equal(picture[0, ::-1, 1], picture[0, :, 0])
    assert not picture[..., 2].any()


@pytest.mark.parametrize("bands", [(0, 1), (0, 1, 41), (-1, 0, 1)])
def test_a_composite_of_missing_bands_is_refused(bands):
    with pytest.raises(CubeError, match="from 0 to 40"):
        band_composite(cube_of(np.zeros((2, 41))), bands)


def test_nearest_band_ignores_bad_bands():
    cube = SpectralCube(
        np.zeros((1, 1, 3), np.float32), np.array([700.0, 500, 600]), good_bands=[True, True, False]
    )
    assert nearest_band(cube, 520) == 1
    assert nearest_band(cube, 605) == 0
    with pytest.raises(WavelengthError):
        nearest_band(cube_of(np.zeros((1, 3)), None), 500)


def test_the_stained_sample_is_pink_and_purple_on_white():
    cube = read_cube(resource_path("sample", "bladder.tif"))
    labels = read_labels(resource_path("sample", "bladder_labels.png")).labels
    lab = rgb2lab(true_colour(cube))
    lumen, urothelium, stroma, blood = (np.median(lab[labels == k], axis=0) for k in (1, 2, 3, 4))
    assert lumen[0] > 97  # white
    assert np.hypot(*lumen[1:]) < 4
    for tissue in (urothelium, stroma, blood):
        assert tissue[1] > 5  # towards red
    assert urothelium[2] < stroma[2] + 1  # haematoxylin is bluer than eosin
    assert blood[1] > 1.5 * stroma[1]
