"""Folders as the software of cameras leaves them, and the references beside a cube."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.io import identify_cube, is_readable, read_cube, write_cube
from carl.io.companions import References, find_references

PIXELS = np.arange(6 * 7 * 5, dtype=np.uint16).reshape(6, 7, 5)
NM = np.linspace(400, 800, 5)


def write(header: Path, pixels: np.ndarray = PIXELS, suffix: str = ".raw") -> Path:
    """Write an ENVI cube whose data file has another suffix than usual."""
    header.parent.mkdir(parents=True, exist_ok=True)
    _, data = write_cube(header, SpectralCube(pixels, NM))
    data.rename(header.with_suffix(suffix))
    return header


def specim(folder: Path, *, reflectance: bool) -> Path:
    name, capture = folder.name, folder / "capture"
    write(capture / f"{name}.hdr")
    write(capture / f"WHITEREF_{name}.hdr", PIXELS[:1] + 9)
    write(capture / f"DARKREF_{name}.hdr", PIXELS[:1])
    if reflectance:
        write(folder / "results" / f"REFLECTANCE_{name}.hdr", PIXELS / 1000, ".dat")
    return folder


def test_specim_folder_with_references(tmp_path: Path):
    folder = specim(tmp_path / "scan_001", reflectance=False)
    capture = folder / "capture"
    assert is_readable(folder)
    cube = read_cube(folder)
    assert np.array_equal(cube.data[...], PIXELS)
    assert cube.name == "scan_001"
    assert cube.metadata["references"] == {
        "white": str(capture / "WHITEREF_scan_001.hdr"),
        "dark": str(capture / "DARKREF_scan_001.hdr"),
    }
    assert identify_cube(folder) == identify_cube(capture / "scan_001.raw")


def test_reflectance_that_the_camera_computed_is_opened_and_has_no_references(tmp_path: Path):
    folder = specim(tmp_path / "scan_001", reflectance=True)
    cube = read_cube(folder)
    assert np.array_equal(cube.data[...], PIXELS / 1000)
    assert "references" not in cube.metadata
    assert "variable='raw'" in cube.metadata["notes"][0]
    recorded = read_cube(folder, variable="raw")
    assert np.array_equal(recorded.data[...], PIXELS)
    assert set(recorded.metadata["references"]) == {"white", "dark"}
    assert identify_cube(folder) == (folder / "results" / "REFLECTANCE_scan_001.hdr").resolve()


def test_headwall_folder_joins_the_parts_of_a_flight(tmp_path: Path):
    folder = tmp_path / "100041_flight"
    write(folder / "raw_0.hdr", PIXELS[:2], "")
    write(folder / "raw_2.hdr", PIXELS[2:5], "")
    write(folder / "raw_10.hdr", PIXELS[5:], "")
    write(folder / "whiteReference.hdr", PIXELS[:1] + 9, "")
    write(folder / "darkReference.hdr", PIXELS[:1], "")
    cube = read_cube(folder)
    assert np.array_equal(cube.data[...], PIXELS)
    for rows in (slice(1, 6, 2), slice(5, 0, -2), slice(3, 4), slice(4, 6)):
        assert np.array_equal(cube.data[rows, ::3], PIXELS[rows, ::3])
    assert cube.metadata["notes"] == ("Joined the lines of 3 files, raw_0 to raw_10.",)
    assert cube.metadata["references"]["dark"] == str(folder / "darkReference.hdr")


def test_parts_that_differ_are_refused(tmp_path: Path):
    write(tmp_path / "flight" / "raw_0.hdr", PIXELS, "")
    write(tmp_path / "flight" / "raw_6.hdr", PIXELS[:, :3], "")
    with pytest.raises(CubeError, match=r"flight holds parts of a flight that differ"):
        read_cube(tmp_path / "flight")


def test_resonon_folder(tmp_path: Path):
    header = write(tmp_path / "leaf" / "leaf.hdr", PIXELS, ".bil")
    header.rename(header.with_name("leaf.bil.hdr"))
    for path in (header.parent, header.with_name("leaf.bil"), header.with_name("leaf.bil.hdr")):
        assert np.array_equal(read_cube(path).data[...], PIXELS)


def test_several_cubes_in_a_folder_are_not_guessed(tmp_path: Path):
    for name in ("a", "b"):
        write(tmp_path / "day" / f"{name}.hdr")
    with pytest.raises(CubeError, match=r"day holds several cubes, a\.hdr, b\.hdr: open the file"):
        read_cube(tmp_path / "day")
    assert read_cube(tmp_path / "day", variable="b").shape == PIXELS.shape
    with pytest.raises(CubeError, match="holds no cube 'c'"):
        read_cube(tmp_path / "day", variable="c")


def test_other_folders_are_refused(tmp_path: Path):
    (tmp_path / "notes").mkdir()
    assert not is_readable(tmp_path / "notes")
    with pytest.raises(CubeError, match="notes is a folder without a series"):
        read_cube(tmp_path / "notes")


def test_references_of_other_cubes_are_not_taken(tmp_path: Path):
    for name in ("a", "WHITEREF_b", "DARKREF_a"):
        write(tmp_path / f"{name}.hdr")
    assert find_references(tmp_path / "a.hdr") == References(None, tmp_path / "DARKREF_a.hdr")
    assert find_references(tmp_path / "DARKREF_a.hdr") == References()
    assert find_references(tmp_path / "absent" / "a.hdr") == References()
