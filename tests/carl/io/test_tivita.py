"""SpecCube files of the Tivita camera, written byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from carl.errors import CubeError
from carl.io import is_readable, read_cube


def write(path: Path, image: np.ndarray) -> Path:
    height, width, n_bands = image.shape
    content = struct.pack(">3i", width, height, n_bands)
    for x in range(width):
        for y in reversed(range(height)):
            content += image[y, x].astype(">f4").tobytes()
    path.write_bytes(content)
    return path


def test_orientation_and_wavelengths_are_right(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((4, 6, 100), np.float32)
    cube = read_cube(write(tmp_path / "2020_SpecCube.dat", image))
    assert np.array_equal(cube.data, image)
    assert cube.wavelengths is not None
    assert cube.wavelengths[[0, -1]].tolist() == [500, 1000]
    assert "tivita-step5" in cube.metadata["notes"][0]
    again = read_cube(tmp_path / "2020_SpecCube.dat", camera="tivita-step5")
    assert again.wavelengths is not None
    assert again.wavelengths[[0, -1]].tolist() == [500, 995]


def test_cubes_of_other_numbers_of_bands_have_no_wavelengths(tmp_path: Path) -> None:
    path = write(tmp_path / "any name.dat", np.ones((4, 6, 20), np.float32))
    assert is_readable(path)
    assert read_cube(path).wavelengths is None


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "2020_SpecCube.dat", np.ones((4, 6, 20), np.float32))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CubeError, match="6 × 4 × 20 numbers, 1932 bytes, but has 1927"):
        read_cube(path)
