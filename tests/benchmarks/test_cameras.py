from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cameras import as_seen, cameras, carl_features, matrices, probes, rows, spectra
from cases import every_pixel, random_pixels

from carl.simulation import covered_bands


def test_cameras_are_the_same_every_time_and_see_the_cube(cube):
    listed, again = list(cameras(cube)), list(cameras(cube))

    assert len(listed) == 7
    assert [each.name for each in listed] == [each.name for each in again]
    for camera, same in zip(listed, again, strict=True):
        np.testing.assert_array_equal(camera.wavelengths, same.wavelengths)
        assert covered_bands(cube, camera).all()


def test_every_camera_sees_the_same_scene_in_the_same_units(cube):
    stored = replace(cube, data=cube.to_numpy() * 10_000, scale=1e-4)

    means = [each.to_numpy().mean() for each in as_seen(stored)]

    np.testing.assert_allclose(means, cube.to_numpy().mean(), rtol=0.05)


def test_a_probe_that_needs_no_camera_loses_nothing(cube, labels, tiny_model):
    itself, *_, last = as_seen(cube)

    found = matrices(probes("raw", spectra, labels), [itself, last], labels, "other pixels", [5])
    features = partial(carl_features, tiny_model)
    found |= matrices(probes("CARL", features, labels), [itself], labels, "other pixels", [5])

    for name in ("raw, shrinkage LDA", "raw, logistic regression"):  # slopes are any camera's
        assert found[name].shape == (1, 2, 2)
        assert found[name].min() > 0.95
    np.testing.assert_array_equal(
        found["CARL, shrinkage LDA"], found["CARL, shrinkage LDA, aligned"]
    )


def test_aligned_features_do_not_know_the_units_of_a_camera(cube, labels):
    def in_other_units(first, second):
        ramp = np.linspace(0, 2, second.n_bands, dtype=np.float32)
        return every_pixel(first.to_numpy()), every_pixel(3 * second.to_numpy() + ramp)

    painted, _ = random_pixels(labels, 5, 0)
    told = probes("raw", in_other_units, labels)(cube, cube)
    same = probes("raw", spectra, labels)(cube, cube)

    assert (
        told["raw, shrinkage LDA, aligned"](painted) == same["raw, shrinkage LDA"](painted)
    ).all()
    assert (told["raw, shrinkage LDA"](painted) != same["raw, shrinkage LDA"](painted)).any()


def test_rows_tell_what_is_lost_and_where(cube):
    matrix = np.array([[[0.9, 0.5], [0.78, 0.8]]])

    (line,) = rows({"probe": matrix}, [5], as_seen(cube)[:2])

    cells = [each.strip() for each in line.strip("|").split("|")]
    assert cells[0] == "probe"
    assert cells[2:5] == ["0.850", "0.640", "0.210"]
    assert cells[5:] == ["1 of 2", "0.400", "itself → RGB"]
    assert float(cells[2]) - float(cells[3]) == pytest.approx(float(cells[4]))
