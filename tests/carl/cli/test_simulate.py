"""`carl simulate`: a cube through another camera's filters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import carl

NM = np.linspace(450, 800, 8)  # of the cube in conftest.py


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A camera with two bands inside the cube's range and one beyond."""
    path = tmp_path / "three.csv"
    path.write_text("wavelength_nm,fwhm_nm\n525,80\n700,50\n1100,40\n")
    return path


def test_simulate_writes_a_cube(call_json, cube_path: Path, table: Path, tmp_path: Path):
    out = tmp_path / "new" / "seen.hdr"
    facts = call_json("simulate", cube_path, "--camera", table, "-o", out, "--drop-uncovered")
    assert (facts["bands"], facts["dropped"], facts["camera"]) == (2, 1, "three")
    source, seen = carl.read_cube(cube_path), carl.read_cube(out)
    np.testing.assert_allclose(seen.wavelengths, [525, 700])
    np.testing.assert_allclose(seen.fwhm, [80, 50])
    assert seen.shape == (*source.shape[:2], 2)
    # 700 nm is a band of the cube, which is as wide: its own pixels come out.
    np.testing.assert_allclose(seen.to_numpy()[..., 1], source.to_numpy()[..., 5], atol=1e-5)
    assert seen.to_numpy()[..., 0].std() < source.to_numpy()[..., 1].std()  # mixed with neighbours


def test_simulate_is_explained(call):
    assert "simulate" in call("--help")[1]
    status, out, _ = call("simulate", "--help")
    assert status == 0
    assert "--drop-uncovered" in out


def test_simulate_says_what_is_missing(call, cube_path: Path, table: Path, tmp_path: Path):
    before = sorted(tmp_path.iterdir())
    status, out, err = call("simulate", cube_path, "--camera", table, "-o", tmp_path / "seen.hdr")
    assert (status, out) == (2, "")
    assert "450 to 800 nm" in err
    assert "1100 nm" in err
    assert sorted(tmp_path.iterdir()) == before


def test_simulate_never_writes_over_its_input(call, cube_path: Path, tmp_path: Path):
    content = cube_path.with_suffix(".dat").read_bytes()
    for name in (cube_path, cube_path.with_suffix(".dat")):
        status, _, err = call("simulate", name, "--camera", "srgb", "-o", cube_path)
        assert status == 2
        assert "is an input" in err
    assert cube_path.with_suffix(".dat").read_bytes() == content


def test_simulate_needs_wavelengths_and_a_camera(call, tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((9, 11, 5), np.float32))
    command = ("simulate", tmp_path / "plain.npy", "-o", tmp_path / "seen.hdr", "--camera")
    assert "wavelengths" in call(*command, "srgb")[2]
    assert "No camera is called 'nokia'" in call(*command, "nokia")[2]
    status, *_ = call(*command, "srgb", "--wavelengths", "420:660:60")
    assert status == 0
    assert carl.read_cube(tmp_path / "seen.hdr").n_bands == 3
