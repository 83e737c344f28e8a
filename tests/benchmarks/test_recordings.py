from dataclasses import replace

import numpy as np
import pytest
from recordings import (
    COARSENING,
    GAIN,
    RECORDINGS,
    coarser,
    gain_per_band,
    haze,
    illumination_gradient,
    majority,
    other_filters,
)

from carl.spectra.normalise import white_level


@pytest.mark.parametrize("record", RECORDINGS.values(), ids=RECORDINGS)
def test_recordings_are_of_the_same_scene(record, cube):
    recorded = record(cube)

    factor = COARSENING if record is coarser else 1
    assert recorded.shape[:2] == (cube.shape[0] // factor, cube.shape[1] // factor)
    middle = cube.to_numpy()[:, :, 8] if factor == 1 else coarser(cube).to_numpy()[:, :, 8]
    nearest = np.abs(recorded.require_wavelengths() - cube.require_wavelengths()[8]).argmin()
    assert np.corrcoef(recorded.to_numpy()[:, :, nearest].ravel(), middle.ravel())[0, 1] > 0.4


def test_other_filters_are_half_as_many_over_the_same_range(cube):
    nm = other_filters(cube).require_wavelengths()

    assert nm.size == 16
    assert (nm[0], nm[-1]) == (400, 700)


def test_gains_are_those_of_bands(cube):
    gain = gain_per_band(cube).to_numpy() / cube.to_numpy()

    assert np.ptp(gain, axis=(0, 1)).max() < 1e-3
    assert np.ptp(gain) > GAIN
    assert np.abs(gain - 1).max() < GAIN + 1e-3


def test_haze_decreases_with_wavelength(cube):
    added = (haze(cube).to_numpy() - cube.to_numpy()).mean(axis=(0, 1))

    assert (np.diff(added) < 0).all()
    assert added[-1] > 0


def test_light_increases_from_left_to_right(cube):
    light = illumination_gradient(cube).to_numpy() / cube.to_numpy()

    assert (np.diff(light.mean(axis=(0, 2))) > 0).all()


def test_counts_do_not_depend_on_the_units_of_the_cube(cube):
    counts = RECORDINGS["counts"]
    stored = replace(cube, data=cube.to_numpy() * 255)

    assert counts(cube).data.dtype == np.uint16
    np.testing.assert_allclose(counts(stored).to_numpy(), counts(cube).to_numpy(), atol=1.01)
    assert white_level(counts(cube)) == pytest.approx(10_000, rel=0.01)


def test_coarser_labels_are_those_of_the_majority():
    labels = np.zeros((7, 6), np.uint8)
    labels[:3, :3], labels[0, :3] = 2, 1
    labels[3:6, 0] = 3

    assert majority(labels, (2, 2)).tolist() == [[2, 0], [0, 0]]
    assert (majority(labels, labels.shape) == labels).all()
