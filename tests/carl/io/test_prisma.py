"""PRISMA products of levels 1 and 2D, in the layout of the agency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from carl.errors import CubeError
from carl.io import info, read_cube

VNIR_NM = np.array([0.0, 1010.0, 700.0, 400.0])
SWIR_NM = np.array([2500.0, 1500.0, 940.0, 0.0, 0.0])
NUMBERS = np.random.default_rng(0)
VNIR = NUMBERS.integers(1, 65535, (6, 4, 7), np.uint16)
SWIR = NUMBERS.integers(1, 65535, (6, 5, 7), np.uint16)


def write(
    path: Path, level: str = "L2D", swaths: tuple[str, ...] = ("HCO",), **options: Any
) -> Path:
    with h5py.File(path, "w") as file:
        for swath in swaths:
            fields = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_{swath}/Data Fields")
            fields.create_dataset("VNIR_Cube", data=VNIR, **options)
            fields.create_dataset("SWIR_Cube", data=SWIR, **options)
            fields.create_dataset("VNIR_PIXEL_L2_ERR_MATRIX", data=np.zeros(VNIR.shape, "u1"))
        pan = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_PCO/Data Fields")
        pan.create_dataset("Cube", data=np.zeros((36, 42), "u2"))
        for name, nm in (("Vnir", VNIR_NM), ("Swir", SWIR_NM)):
            file.attrs[f"List_Cw_{name}"] = nm.astype("f4")
            file.attrs[f"List_Fwhm_{name}"] = (nm / 100).astype("f4")
        if level == "L1":
            file.attrs.update(ScaleFactor_Vnir=100.0, Offset_Vnir=1.0)
            file.attrs.update(ScaleFactor_Swir=200.0, Offset_Swir=0.0)
        else:
            file.attrs.update(L2ScaleVnirMin=0.0, L2ScaleVnirMax=1.31)
            file.attrs.update(L2ScaleSwirMin=0.1, L2ScaleSwirMax=0.9)
    return path


def test_bands_of_both_detectors_are_in_order_without_unused_ones(tmp_path: Path):
    cube = read_cube(write(tmp_path / "scene.he5"))
    assert cube.shape == (6, 7, 6)
    assert cube.wavelengths.tolist() == [400, 700, 940, 1010, 1500, 2500]
    assert cube.fwhm == pytest.approx(cube.wavelengths / 100)
    expected = [VNIR[:, 3], VNIR[:, 2], SWIR[:, 2], VNIR[:, 1], SWIR[:, 1], SWIR[:, 0]]
    assert np.array_equal(cube.data[...], np.stack(expected, -1))
    assert np.array_equal(cube.data[2:4, ::-2, 1:5:3], np.stack(expected, -1)[2:4, ::-2, 1:5:3])
    assert cube.metadata["detectors"] == ("VNIR", "VNIR", "SWIR", "VNIR", "SWIR", "SWIR")
    assert "both record 940–1010 nm" in cube.metadata["notes"][0]
    assert info(cube).wavelengths[-1] == 2500


def test_level_2_is_scaled_to_reflectance(tmp_path: Path):
    cube = read_cube(write(tmp_path / "scene.he5", compression="gzip"))
    assert cube.read()[..., 1] == pytest.approx(VNIR[:, 2] / 65535 * 1.31, rel=1e-5)
    assert cube.read()[..., 5] == pytest.approx(0.1 + SWIR[:, 0] / 65535 * 0.8, rel=1e-5)
    assert cube.nodata == 0


def test_level_1_is_scaled_to_radiance_and_uses_the_registered_swath(tmp_path: Path):
    cube = read_cube(write(tmp_path / "scene.he5", "L1", ("HRC", "HCO")))
    assert cube.read()[..., 0] == pytest.approx(VNIR[:, 3] / 100 - 1, rel=1e-5)
    assert cube.read()[..., 4] == pytest.approx(SWIR[:, 1] / 200, rel=1e-5)
    assert cube.nodata is None
    assert cube.metadata["format"] == "PRISMA L1"


def test_one_detector_can_be_chosen(tmp_path: Path):
    name = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/SWIR_Cube"
    cube = read_cube(write(tmp_path / "scene.he5"), variable=name)
    assert cube.metadata["variable"] == name


@pytest.mark.parametrize("name", ["List_Cw_Swir", "List_Fwhm_Vnir", "L2ScaleVnirMin"])
def test_missing_attributes_are_an_error(tmp_path: Path, name: str):
    path = write(tmp_path / "scene.he5")
    with h5py.File(path, "a") as file:
        del file.attrs[name]
    with pytest.raises(CubeError, match=r"scene.he5 has no .*: it is damaged"):
        read_cube(path)
