"""Findings on wavelengths, and their corrections."""

from __future__ import annotations

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.io import read_cube
from carl.simulation.chromophores import absorption
from carl.spectra.wavelength_doctor import examine


def smooth_cube(nm, good_bands=None):
    nm = np.asarray(nm, np.float64)
    levels = np.random.default_rng(0).uniform(0.5, 1, (6, 7, 1))
    return SpectralCube(levels * (1 + np.linspace(0, 2, nm.size)), nm, good_bands=good_bands)


def wet_cube(nm):
    amount = np.random.default_rng(0).uniform(0.5, 1.5, (15, 15, 1))
    return SpectralCube(np.exp(-0.3 * amount * absorption("water", nm)), nm)


def only(cube, kind):
    findings = examine(cube)
    assert [each.kind for each in findings] == [kind]
    return findings[0]


def test_nothing_is_found_where_nothing_is_wrong():
    assert examine(smooth_cube(np.linspace(400, 1000, 60))) == ()
    assert examine(smooth_cube(np.linspace(1000, 400, 60))) == ()
    assert examine(smooth_cube([475, 560, 668, 840, 717])) == ()


@pytest.mark.parametrize(
    ("factor", "mistake", "action"),
    [
        (1e-3, "µm that were read as nm", "Multiply by 1000"),
        (1e3, "nm that were read as µm", "Divide by 1000"),
        (1e-9, "m that were read as nm", "Multiply by 1e+09"),
    ],
)
def test_a_wrong_unit_is_corrected(factor, mistake, action):
    right = np.linspace(400, 1000, 60)
    cube = smooth_cube(right * factor)
    cube = SpectralCube(cube.data, cube.wavelengths, np.full(60, 5 * factor))
    found = only(cube, "unit")
    assert mistake in found.sentence
    assert found.action == action
    corrected = found.correct(cube)
    np.testing.assert_allclose(corrected.wavelengths, right)
    np.testing.assert_allclose(corrected.fwhm, 5)
    assert examine(corrected) == ()


def test_duplicates_are_excluded():
    nm = np.linspace(400, 990, 60)
    nm[10] = nm[9]
    cube = smooth_cube(nm)
    found = only(cube, "duplicates")
    assert "1 bands have the wavelength of an earlier band" in found.sentence
    good = found.correct(cube).good_bands
    assert not good[10]
    assert good.sum() == 59


def test_the_overlap_of_two_detectors_is_excluded():
    nm = np.concatenate([np.linspace(400, 1000, 40), np.linspace(953, 1700, 40)])
    cube = smooth_cube(nm)
    found = only(cube, "overlap")
    assert "go back from 1000 to 953 nm: 2 detectors overlap" in found.sentence
    corrected = found.correct(cube)
    assert np.all(np.diff(corrected.wavelengths[corrected.good_bands]) > 0)
    assert corrected.good_bands[:40].all()


def test_a_scrambled_list_is_sorted():
    nm = np.linspace(400, 1000, 60)
    cube = smooth_cube(np.random.default_rng(1).permutation(nm))
    found = only(cube, "order")
    np.testing.assert_allclose(found.correct(cube).wavelengths, nm)


def test_cameras_are_proposed_for_unknown_wavelengths():
    cube = SpectralCube(np.ones((3, 4, 204)))
    found = only(cube, "missing")
    assert "specim-iq" in found.sentence
    assert found.correct(cube).metadata["wavelength_source"] == "the camera specim-iq"
    nothing = only(SpectralCube(np.ones((3, 4, 37))), "missing")
    assert nothing.correct is None
    assert "no known camera has 37 bands" in nothing.sentence


def test_a_shifted_axis_is_corrected():
    nm = np.arange(850.0, 1400, 6)
    wrong = wet_cube(nm).with_wavelengths(nm + 20)
    found = only(wrong, "shift")
    assert "water at 970 and 1200 nm" in found.sentence
    assert found.action == f"Shift by {found.shift.shift_nm:+.0f} nm"
    np.testing.assert_allclose(found.correct(wrong).wavelengths, nm, atol=2)
    assert examine(found.correct(wrong)) == ()


def test_raman_maps_infrared_maps_and_colour_images_have_no_lines(shared):
    data = shared / "data"
    raman = read_cube(
        data / "labelled" / "chondro" / "chondro.npz",
        wavelengths=1e7 / (1e7 / 785 - np.linspace(602, 1798, 300)),
    )
    infrared = read_cube(data / "openspecy_ftir_map" / "CA small UF.hdr")
    colours = SpectralCube(np.random.default_rng(0).random((20, 20, 3)), [620, 550, 460])
    for cube in (raman, infrared, colours):
        assert examine(cube) == ()
