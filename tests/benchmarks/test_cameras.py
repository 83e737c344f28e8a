from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cameras import (
    benchmark_cameras,
    carl_features,
    probes,
    simulated_cubes,
    spectra,
    table_rows,
    transfer_scores,
)
from cases import per_pixel, random_pixels

from carl.simulation import covered_bands


def test_cameras_are_deterministic_and_covered_by_the_cube(cube):
    cameras, again = list(benchmark_cameras(cube)), list(benchmark_cameras(cube))

    assert len(cameras) == 7
    assert [each.name for each in cameras] == [each.name for each in again]
    for camera, same in zip(cameras, again, strict=True):
        np.testing.assert_array_equal(camera.wavelengths, same.wavelengths)
        assert covered_bands(cube, camera).all()


def test_simulated_cubes_have_the_units_of_the_scaled_cube(cube):
    stored = replace(cube, data=cube.to_numpy() * 10_000, scale=1e-4)

    means = [each.to_numpy().mean() for each in simulated_cubes(stored)]

    np.testing.assert_allclose(means, cube.to_numpy().mean(), rtol=0.05)


def test_probe_on_camera_independent_classes_has_no_loss(cube, labels, tiny_model):
    original, *_, last = simulated_cubes(cube)
    methods = probes("raw", spectra, labels)
    carl_methods = probes("CARL", partial(carl_features, tiny_model), labels)

    scores = transfer_scores(methods, [original, last], labels, "other pixels", [5])
    scores |= transfer_scores(carl_methods, [original], labels, "other pixels", [5])

    for name in ("raw, shrinkage LDA", "raw, logistic regression"):  # slopes survive resampling
        assert scores[name].shape == (1, 2, 2)
        assert scores[name].min() > 0.95
    np.testing.assert_array_equal(
        scores["CARL, shrinkage LDA"], scores["CARL, shrinkage LDA, aligned"]
    )


def test_aligned_features_do_not_depend_on_the_units_of_a_camera(cube, labels):
    def in_other_units(source, target):
        ramp = np.linspace(0, 2, target.n_bands, dtype=np.float32)
        return per_pixel(source.to_numpy()), per_pixel(3 * target.to_numpy() + ramp)

    training, _ = random_pixels(labels, 5, 0)
    other_units = probes("raw", in_other_units, labels)(cube, cube)
    same_units = probes("raw", spectra, labels)(cube, cube)

    expected = same_units["raw, shrinkage LDA"](training)
    assert (other_units["raw, shrinkage LDA, aligned"](training) == expected).all()
    assert (other_units["raw, shrinkage LDA"](training) != expected).any()


def test_table_rows_contain_mean_and_worst_loss(cube):
    matrix = np.array([[[0.9, 0.5], [0.78, 0.8]]])

    (line,) = table_rows({"probe": matrix}, [5], simulated_cubes(cube)[:2])

    cells = [each.strip() for each in line.strip("|").split("|")]
    assert cells[0] == "probe"
    assert cells[2:5] == ["0.850", "0.640", "0.210"]
    assert cells[5:] == ["1 of 2", "0.400", "original → RGB"]
    assert float(cells[2]) - float(cells[3]) == pytest.approx(float(cells[4]))
