"""NetCDF files of versions 3 and 4: names of axes, scaling, wavelengths, and EMIT products."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file

from carl.errors import CubeError
from carl.io import read_cube

PIXELS = np.arange(6 * 7 * 5, dtype=np.int16).reshape(6, 7, 5)
MICROMETRES = np.array([0.4, 0.5, 0.6, 0.7, 0.8])


def write_3(path: Path, n_times: int = 1, version: int = 1) -> Path:
    """Write bands, time, columns and rows, scaled, with the coordinate of the bands."""
    with netcdf_file(path, "w", version=version) as file:
        for name, length in {"wavelength": 5, "time": n_times, "lon": 7, "lat": 6}.items():
            file.createDimension(name, length)
        nm = file.createVariable("wavelength", "f8", ("wavelength",))
        nm[:] = MICROMETRES
        nm.units = "micrometers"
        cube = file.createVariable("radiance", "i2", ("wavelength", "time", "lon", "lat"))
        cube[:] = PIXELS.transpose(2, 1, 0)[:, None]
        cube.scale_factor, cube.add_offset, cube._FillValue = 0.5, 2.0, np.int16(7)
    return path


@pytest.mark.parametrize("version", [1, 2])
def test_classic_files_are_read_lazily(tmp_path: Path, version: int):
    cube = read_cube(write_3(tmp_path / "scene.nc", version=version))
    assert np.array_equal(cube.data[...], PIXELS)
    assert cube.wavelengths == pytest.approx(MICROMETRES * 1000)
    assert np.isnan(cube.read()[PIXELS == 7]).all()
    assert np.array_equal(cube.read()[0, 0], PIXELS[0, 0] * 0.5 + 2)
    os.truncate(tmp_path / "scene.nc", 300)
    with pytest.raises(CubeError, match="became shorter"):
        cube.read()


def test_several_times_are_not_guessed(tmp_path: Path):
    with pytest.raises(CubeError, match=r"is several cubes, with the axes .*time \(3\)"):
        read_cube(write_3(tmp_path / "film.nc", 3))
    cube = read_cube(tmp_path / "film.nc", frame="time=1")
    assert np.array_equal(cube.data[...], PIXELS)


@pytest.mark.parametrize("length", [0, 3, 30, 200])
def test_cut_off_classic_files_are_errors(tmp_path: Path, length: int):
    path = write_3(tmp_path / "scene.nc")
    os.truncate(path, length)
    with pytest.raises(CubeError, match=r"scene.nc"):
        read_cube(path)


def test_names_of_axes_decide_in_version_4(tmp_path: Path):
    path = tmp_path / "scene.nc"
    with h5py.File(path, "w") as file:
        cube = file.create_dataset("cube", data=PIXELS[:, :6].transpose(1, 2, 0))
        for axis, (name, length) in enumerate({"x": 6, "band": 5, "y": 6}.items()):
            scale = file.create_dataset(name, data=np.arange(length))
            scale.make_scale(name)
            cube.dims[axis].attach_scale(scale)
    assert np.array_equal(read_cube(path).data[...], PIXELS[:, :6])


def test_emit_reflectance(tmp_path: Path):
    path = tmp_path / "EMIT_L2A_RFL_001.nc"
    with h5py.File(path, "w") as file:
        values = PIXELS.astype(np.float32)
        values[0, 0] = -9999
        cube = file.create_dataset("reflectance", data=values, chunks=(6, 7, 5), compression="gzip")
        cube.attrs["_FillValue"] = np.array([-9999.0], np.float32)
        for axis, name in enumerate(["downtrack", "crosstrack", "bands"]):
            scale = file.create_dataset(name, shape=(cube.shape[axis],), dtype=">f4")
            scale.make_scale("This is a netCDF dimension but not a netCDF variable.")
            cube.dims[axis].attach_scale(scale)
        parameters = file.create_group("sensor_band_parameters")
        parameters["wavelengths"] = MICROMETRES.astype("f4") * 1000
        parameters["wavelengths"].attrs["units"] = "nm"
        parameters["fwhm"] = np.full(5, 8.5, np.float32)
        parameters["good_wavelengths"] = np.array([1, 1, 0, 1, 1], np.uint8)
        file["location/glt_x"] = file["location/glt_y"] = np.zeros((9, 9), np.int32)
    cube = read_cube(path)
    assert cube.wavelengths == pytest.approx(MICROMETRES * 1000)
    assert cube.fwhm == pytest.approx(np.full(5, 8.5))
    assert cube.good_bands.tolist() == [True, True, False, True, True]
    assert np.isnan(cube.read()[0, 0]).all()
    assert np.array_equal(cube.read()[1:], PIXELS[1:])
    assert "location/glt_x" in cube.metadata["notes"][0]
