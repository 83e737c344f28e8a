"""Known lines in synthetic and real spectra, on axes that are shifted by known amounts."""

from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.io import read_cube
from carl.simulation.chromophores import absorption
from carl.spectra.known_lines import RED_EDGE, LineFit, axis_shift, find_lines


def noisy_cube(optical_density, nm, seed=0):
    """A cube of pixels of different brightness, with different amounts of one absorber."""
    generator = np.random.default_rng(seed)
    amount = generator.uniform(0.5, 1.5, (20, 20, 1))
    slope = generator.uniform(-0.3, 0.3, (20, 20, 1)) * (nm - nm.mean()) / np.ptp(nm)
    values = np.exp(-amount * optical_density + slope + generator.normal(0, 0.3, (20, 20, 1)))
    return SpectralCube(values * generator.normal(1, 0.002, values.shape), nm)


def shifted(cube, by):
    return cube.with_wavelengths(cube.wavelengths + by)


def wet(nm):
    return noisy_cube(0.3 * absorption("water", nm), nm)


def bloody(nm):
    blood = 0.8 * absorption("oxyhaemoglobin", nm) + 0.2 * absorption("deoxyhaemoglobin", nm)
    return noisy_cube(0.05 * np.sqrt(blood), nm)


@pytest.mark.parametrize(
    ("cube", "name"),
    [
        (wet(np.arange(850.0, 1400, 6)), "water at 970 and 1200 nm"),
        (bloody(np.arange(480.0, 700, 4)), "haemoglobin at 542 and 577 nm"),
    ],
)
@pytest.mark.parametrize("error", [-20, 0, 17])
def test_lines_are_found_where_they_are(cube, name, error):
    found = {line.family: line for line in find_lines(shifted(cube, error))}
    assert found[name].shift_nm == pytest.approx(-error, abs=2)
    assert found[name].share > 0.8
    shift = axis_shift(tuple(found.values()))
    if error:
        assert shift is not None
        assert shift.shift_nm == pytest.approx(-error, abs=2)
        assert 0.8 < shift.confidence <= 1
    else:
        assert shift is None


def test_oxygen_may_stand_out_upwards():
    nm = np.arange(700.0, 830, 3)
    line = 0.2 * np.exp(-0.5 * ((nm - 762) / 3) ** 2)
    for sign in (-1, 1):
        found = find_lines(shifted(noisy_cube(sign * line, nm), 10))
        assert [each.family for each in found] == ["oxygen at 760 nm"]
        assert found[0].shift_nm == pytest.approx(-10, abs=1.5)


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_smooth_spectra_have_no_lines(seed):
    nm = np.linspace(400, 2400, 160)
    generator = np.random.default_rng(seed)
    assert find_lines(SpectralCube(generator.normal(1, 0.1, (15, 15, 160)), nm)) == ()
    assert find_lines(noisy_cube(0.3 * np.sin(nm / 300), nm, seed)) == ()


def test_cubes_without_wavelengths_with_few_bands_or_without_light_have_no_lines():
    nm = np.linspace(400, 1000, 60)
    for cube in (
        SpectralCube(np.ones((4, 4, 60))),
        SpectralCube(np.ones((4, 4, 3)), [620, 550, 460]),
        SpectralCube(np.zeros((4, 4, 60)), nm),
        SpectralCube(np.full((4, 4, 60), np.nan), nm),
        SpectralCube(np.ones((1, 1, 60)), nm),
    ):
        assert find_lines(cube) == ()


def test_lines_that_disagree_give_no_shift():
    water = LineFit("water", -20, 6, 0.9)
    assert axis_shift([water]).shift_nm == pytest.approx(-20)
    assert axis_shift([water, LineFit("oxygen", 0, 4, 0.9)]) is None
    both = axis_shift([water, LineFit("oxygen", -16, 4, 0.8)])
    assert -20 < both.shift_nm < -16
    assert both.uncertainty_nm < 4
    assert both.confidence == pytest.approx(1 - 0.1 * 0.2)


def test_shifts_within_the_scatter_of_correct_axes_are_not_reported():
    assert axis_shift([LineFit("oxygen", 7, 2, 0.9)]) is None
    assert axis_shift([LineFit(RED_EDGE, 16, 7, 0.9)]) is None
    assert axis_shift([LineFit(RED_EDGE, 19, 7, 0.9)]) is not None


@pytest.mark.parametrize("error", [0, 20, -30])
def test_vegetation_and_water_of_an_airborne_camera(shared, error):
    cube = read_cube(shared / "data" / "spechomo_airborne" / "AV_mastercal_testdata.hdr")
    found = axis_shift(find_lines(shifted(cube, error)))
    if error == 0:
        assert found is None
    else:
        assert found is not None
        assert np.sign(found.shift_nm) == -np.sign(error)


def test_a_stained_section_has_no_haemoglobin():
    from carl.files import resource_path

    assert find_lines(read_cube(resource_path("sample", "bladder.tif"))) == ()
