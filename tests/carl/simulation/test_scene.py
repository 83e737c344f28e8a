"""Simulated scenes: ground truth and reproducibility, for any camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.simulation import (
    KINDS,
    PARAMETERS,
    gaussian_camera,
    perfect_acquisition,
    random_camera,
    render,
    simulate_scene,
)
from carl.simulation.tissue import SECTION_PARAMETERS, TISSUE_PARAMETERS
from carl.spectra.colour import true_colour

VISIBLE = gaussian_camera(np.linspace(420, 740, 17), 20)
INFRARED = gaussian_camera(np.linspace(900, 1700, 9), 30)
SHAPE = (40, 52)


def perfect(seed: int, kind, camera=VISIBLE):
    generator = np.random.default_rng(seed)
    return simulate_scene(generator, SHAPE, camera, kind, perfect_acquisition(camera))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_scene_is_consistent(kind, seed: int):
    scene = simulate_scene(np.random.default_rng(seed), SHAPE, VISIBLE, kind)
    assert scene.kind == kind
    assert scene.cube.shape == (*SHAPE, 17)
    assert np.isfinite(scene.cube.to_numpy()).all()
    np.testing.assert_array_equal(scene.cube.wavelengths, VISIBLE.wavelengths)
    assert scene.labels.shape == SHAPE
    assert scene.labels.min() >= 1
    assert scene.labels.max() <= len(scene.classes)
    assert tuple(scene.parameters) == PARAMETERS
    for name, values in scene.parameters.items():
        assert values.shape == SHAPE
        assert values.dtype == np.float32
        known = values[np.isfinite(values)]
        assert (known >= 0).all()
        if name in ("oxygenation", "blood", "water", "fat", "rayleigh", "glare"):
            assert (known <= 1).all()


@pytest.mark.parametrize("kind", ["organ", "skin", "section"])
@pytest.mark.parametrize("camera", [VISIBLE, INFRARED], ids=["visible", "infrared"])
@pytest.mark.parametrize("seed", range(4))
def test_the_image_can_be_rendered_from_the_ground_truth(kind, camera, seed: int):
    scene = perfect(seed, kind, camera)
    defined = SECTION_PARAMETERS if kind == "section" else TISSUE_PARAMETERS
    known = np.all([np.isfinite(scene.parameters[name]) for name in defined], axis=0)
    assert known.mean() > 0.5
    again = render(
        scene.parameters, camera, kind, mie_power=scene.mie_power, stain_shift=scene.stain_shift
    )
    seen = scene.cube.to_numpy()
    np.testing.assert_array_equal(np.isfinite(again).all(axis=-1), known)
    np.testing.assert_allclose(seen[known], again[known], rtol=1e-5)
    assert seen.min() > 0
    assert seen.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_scene(kind):
    first, second = (simulate_scene(np.random.default_rng(7), SHAPE, VISIBLE, kind) for _ in "ab")
    other = simulate_scene(np.random.default_rng(8), SHAPE, VISIBLE, kind)
    np.testing.assert_array_equal(first.cube.data, second.cube.data)
    np.testing.assert_array_equal(first.labels, second.labels)
    for name in PARAMETERS:
        np.testing.assert_array_equal(first.parameters[name], second.parameters[name])
    assert not np.array_equal(first.cube.data, other.cube.data)


@pytest.mark.parametrize("kind", KINDS)
def test_two_cameras_record_the_same_scene(kind):
    one, other = perfect(3, kind, VISIBLE), perfect(3, kind, INFRARED)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.classes == other.classes
    for name in PARAMETERS:
        np.testing.assert_array_equal(one.parameters[name], other.parameters[name])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_scenes_of_any_camera_and_shape_are_finite(seed: int, shape: tuple[int, int]):
    generator = np.random.default_rng(seed)
    camera = random_camera(generator)
    scene = simulate_scene(generator, shape, camera)
    assert scene.cube.shape == (*shape, camera.n_bands)
    assert np.isfinite(scene.cube.to_numpy()).all()
    assert scene.labels.shape == shape


def test_infrared_cameras_do_not_record_sections():
    kinds = {
        simulate_scene(np.random.default_rng(seed), (4, 4), INFRARED).kind for seed in range(60)
    }
    assert kinds == set(KINDS) - {"section"}


def test_bad_bands_are_marked():
    bad = np.zeros(17, bool)
    bad[[2, 9]] = True
    how = replace(perfect_acquisition(VISIBLE), electrons=1e6, bad_bands=bad)
    scene = simulate_scene(np.random.default_rng(0), SHAPE, VISIBLE, "skin", how)
    np.testing.assert_array_equal(scene.cube.good_bands, ~bad)


def test_scenes_have_the_colours_of_their_kind():
    """Red before blue for organs and skin; pink, magenta or white for sections."""
    for seed in range(8):
        organ, skin, section = (
            true_colour(perfect(seed, kind).cube)[perfect(seed, kind).labels <= 1]
            for kind in ("organ", "skin", "section")
        )
        for colours in (organ, skin):
            red, _, blue = colours.mean(axis=0)
            assert red > blue
        red, green, blue = section.mean(axis=0)
        assert green <= min(red, blue) + 2


def test_ground_truth_correlates_with_the_spectra():
    """More blood is darker at 540 nm, more oxygen redder: on average over many pixels."""
    slopes = []
    for seed in range(12):
        scene = perfect(seed, "skin")
        seen = np.log(scene.cube.to_numpy().reshape(-1, 17))
        blood = np.log(scene.parameters["blood"].ravel())
        slopes.append(np.corrcoef(blood, seen[:, 6] - seen[:, 12])[0, 1])  # 540 over 660 nm
    assert np.mean(slopes) < -0.5


def test_land_has_no_parameters_to_render():
    scene = perfect(0, "land")
    assert all(np.isnan(values).all() for values in scene.parameters.values())
    with pytest.raises(ValueError, match="land"):
        render(scene.parameters, VISIBLE, "land")
