"""NumPy, MATLAB and HDF5 files, which hold one or several arrays without named axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io import read_cube
from carl.mapped_files import FileArray

CUBE = np.arange(20 * 30 * 7, dtype=np.uint16).reshape(20, 30, 7)
NM = np.arange(400.0, 470.0, 10.0)
Save = Callable[[Path, dict[str, NDArray[Any]]], Path]


def save_npz(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def save_npz_compressed(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    np.savez_compressed(folder / "a.npz", **arrays)
    return folder / "a.npz"


def save_matlab_5(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    scipy.io.savemat(folder / "a.mat", arrays)
    return folder / "a.mat"


def save_matlab_5_compressed(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    scipy.io.savemat(folder / "a.mat", arrays, do_compression=True)
    return folder / "a.mat"


def save_matlab_73(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    """Write a file like MATLAB: reversed axes, class in an attribute, after a user block."""
    with h5py.File(folder / "a.mat", "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_(b"double")
    return folder / "a.mat"


def save_hdf5(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "a.h5"


SAVERS = [
    save_npz,
    save_npz_compressed,
    save_matlab_5,
    save_matlab_5_compressed,
    save_matlab_73,
    save_hdf5,
]
every_format = pytest.mark.parametrize("save", SAVERS)


@every_format
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_files_of_every_format_round_trip(save: Save, tmp_path: Path, data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(8, 12), st.integers(8, 12)))
    n_bands = data.draw(st.sampled_from([2, 3, 4, 17]))
    dtype = data.draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]))
    pixels = data.draw(
        hnp.arrays(
            dtype, (height, width, n_bands), elements={"allow_nan": False} if "f" in dtype else None
        )
    )
    folder = Path(mkdtemp(dir=tmp_path))  # a separate folder: an HDF5 file stays open with its cube
    cube = read_cube(save(folder, {"cube": pixels}))
    assert np.array_equal(np.asarray(cube.data), pixels)
    rows = slice(data.draw(st.integers(0, height - 1)), data.draw(st.integers(1, height)))
    bands = slice(data.draw(st.integers(0, n_bands - 1)), None, 2)
    assert np.array_equal(cube.data[rows, 3, bands], pixels[rows, 3, bands])
    assert np.array_equal(cube.data[2, ::-1], pixels[2, ::-1])
    assert cube.data[-1, -1, -1] == pixels[-1, -1, -1]


@every_format
def test_wavelengths_in_another_array_of_the_file_are_used(save: Save, tmp_path: Path) -> None:
    arrays = {"mask": np.ones((20, 30)), "Wavelength": NM, "cube": CUBE, "map": np.ones((20, 30))}
    cube = read_cube(save(tmp_path, arrays))
    assert np.array_equal(cube.wavelengths, NM)
    assert cube.metadata["variable"] == "cube"


@every_format
def test_the_number_of_wavelengths_determines_the_band_axis(save: Save, tmp_path: Path) -> None:
    first = np.moveaxis(CUBE[:9, :8], -1, 0)
    assert read_cube(save(tmp_path, {"cube": first})).shape == (7, 9, 8)
    cube = read_cube(save(tmp_path, {"cube": first, "wl": NM}))
    assert np.array_equal(np.asarray(cube.data), CUBE[:9, :8])


@every_format
def test_several_cubes_are_listed(save: Save, tmp_path: Path) -> None:
    path = save(tmp_path, {"cube": CUBE, "rgb": CUBE[..., :3], "gain": NM})
    with pytest.raises(CubeError, match=r"cube \(20 × 30 × 7\), rgb \(20 × 30 × 3\).*variable='"):
        read_cube(path)
    assert read_cube(path, variable="rgb").shape == (20, 30, 3)
    assert read_cube(path, variable="cube").n_bands == 7
    with pytest.raises(CubeError, match="no variable 'cub'"):
        read_cube(path, variable="cub")
    with pytest.raises(CubeError):
        read_cube(path, variable="gain")


@every_format
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((20, 30)), "two-dimensional image"),
        (np.zeros((2, 20, 30, 5)), "is several cubes"),
        (np.zeros((20, 30, 7), complex), "no array of numbers"),
    ],
)
def test_files_without_a_cube_are_refused(
    save: Save, tmp_path: Path, array: NDArray[Any], message: str
) -> None:
    with pytest.raises(CubeError, match=rf"^a\..*{message}"):
        read_cube(save(tmp_path, {"x": array}))


@pytest.mark.parametrize(
    ("shape", "cube_shape"),
    [
        ((20, 30, 7), (20, 30, 7)),
        ((7, 20, 30), (20, 30, 7)),
        ((100, 100, 205), (100, 100, 205)),
        ((31, 43, 580), (31, 43, 580)),
        ((3, 20, 30), (20, 30, 3)),
        ((20, 30, 3), (20, 30, 3)),
        ((20, 30, 1), (20, 30, 1)),
        ((1, 20, 30), (20, 30, 1)),
        ((5, 5, 5), (5, 5, 5)),
    ],
)
def test_band_axis_of_an_array_without_metadata(
    tmp_path: Path, shape: tuple[int, ...], cube_shape: tuple[int, ...]
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    assert read_cube(tmp_path / "a.npy").shape == cube_shape


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.save, np.savez])
def test_numpy_arrays_are_read_lazily(
    tmp_path: Path, save: Callable[..., None], order: str
) -> None:
    suffix = "npy" if save is np.save else "npz"
    save(tmp_path / f"a.{suffix}", np.asarray(CUBE, order=order))
    cube = read_cube(tmp_path / f"a.{suffix}")
    assert isinstance(cube.data, FileArray)
    assert np.array_equal(cube.data, CUBE)


def test_uncompressed_matlab_arrays_are_read_lazily(tmp_path: Path) -> None:
    assert isinstance(read_cube(save_matlab_5(tmp_path, {"x": CUBE})).data, FileArray)


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, []], object), allow_pickle=True)
    with pytest.raises(CubeError, match="pickled"):
        read_cube(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", x=np.full((3, 4, 5), None))
    with pytest.raises(CubeError, match="no array of numbers"):
        read_cube(tmp_path / "a.npz")


def test_other_variables_in_a_matlab_file_are_ignored(tmp_path: Path) -> None:
    content = {"cube": CUBE, "s": {"a": 1, "b": "text"}, "c": np.array([[1], "x"], object), "n": 5}
    scipy.io.savemat(tmp_path / "a.mat", content)
    assert np.array_equal(read_cube(tmp_path / "a.mat").data, CUBE)


def test_hdf5_groups_and_attributes_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan/reflectance"] = CUBE
        file["scan/reflectance"].attrs["wavelengths"] = NM / 1e3
        file["scan/reflectance"].attrs["wavelength_units"] = "um"
    cube = read_cube(tmp_path / "a.h5")
    np.testing.assert_allclose(cube.wavelengths, NM)
    assert cube.metadata["variable"] == "scan/reflectance"


def test_scale_offset_and_nodata_of_the_cf_conventions_are_applied(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["x"] = CUBE
        file["x"].attrs.update(
            {"scale_factor": [0.5], "add_offset": 1.0, "_FillValue": np.uint16(0)}
        )
    cube = read_cube(tmp_path / "a.nc")
    np.testing.assert_allclose(cube.spectrum(0, 0), [np.nan, 1.5, 2, 2.5, 3, 3.5, 4])


def test_a_matlab_file_without_attributes_is_reversed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["x"] = CUBE.T
    assert np.array_equal(np.asarray(read_cube(tmp_path / "a.mat").data), CUBE)


def test_damaged_chunks_raise_an_error_when_they_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=CUBE, chunks=(20, 30, 7), compression="gzip")
        start = file["x"].id.get_chunk_info(0).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[start : start + 40] = b"\0" * 40
    (tmp_path / "a.h5").write_bytes(content)
    cube = read_cube(tmp_path / "a.h5")
    with pytest.raises(CubeError, match=r"a\.h5 cannot be read"):
        cube.spectrum(0, 0)


def test_the_unit_beside_the_wavelengths_of_an_archive_applies(tmp_path: Path) -> None:
    pixels = np.zeros((4, 5, 3), np.float32)
    listed = {"cube": pixels, "wavelengths": np.array([2.0, 1.5, 1.0])}
    cube = read_cube(save_npz(tmp_path, listed | {"wavelength_unit": np.array("eV")}))
    np.testing.assert_allclose(cube.wavelengths, [619.921, 826.561, 1239.842], rtol=1e-5)

    listed["wavelengths"] = np.array([600.0, 900.0, 1800.0])
    cube = read_cube(save_npz(tmp_path, listed | {"wavelength_unit": np.array("cm-1 Raman shift")}))
    assert cube.wavelengths is None
    assert "Raman shifts" in cube.metadata["notes"][0]
