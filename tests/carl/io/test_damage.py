"""Damaged files of every format raise one clear error that names the file, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import CarlError, CubeError
from carl.io import is_readable, read_cube, write_cube
from carl.spectra.normalise import check_pixels

CUBE = np.arange(6 * 7 * 12, dtype=np.uint16).reshape(6, 7, 12)
NM = np.arange(400.0, 520.0, 10.0)


def _envi(folder: Path) -> Path:
    return write_cube(folder / "cube.hdr", SpectralCube(CUBE, NM))[0]


def _envi_data(folder: Path) -> Path:
    return write_cube(folder / "cube.hdr", SpectralCube(CUBE, NM))[1]


def _tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "cube.tif", np.moveaxis(CUBE, -1, 0), metadata={"axes": "CYX"})
    return folder / "cube.tif"


def _tiff_compressed(folder: Path) -> Path:
    tifffile.imwrite(
        folder / "cube.tif", np.moveaxis(CUBE, -1, 0), compression="zlib", predictor=True
    )
    return folder / "cube.tif"


def _ome(folder: Path) -> Path:
    tifffile.imwrite(folder / "cube.ome.tif", np.moveaxis(CUBE, -1, 0), metadata={"axes": "CYX"})
    return folder / "cube.ome.tif"


def _imagej(folder: Path) -> Path:
    tifffile.imwrite(folder / "cube.tif", np.moveaxis(CUBE, -1, 0), imagej=True)
    return folder / "cube.tif"


def _npy(folder: Path) -> Path:
    np.save(folder / "cube.npy", CUBE)
    return folder / "cube.npy"


def _npz(folder: Path) -> Path:
    np.savez(folder / "cube.npz", cube=CUBE, wavelengths=NM)
    return folder / "cube.npz"


def _npz_compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "cube.npz", cube=CUBE)
    return folder / "cube.npz"


def _matlab_5(folder: Path) -> Path:
    scipy.io.savemat(folder / "cube.mat", {"cube": CUBE, "wavelengths": NM})
    return folder / "cube.mat"


def _matlab_5_compressed(folder: Path) -> Path:
    scipy.io.savemat(folder / "cube.mat", {"cube": CUBE}, do_compression=True)
    return folder / "cube.mat"


def _matlab_73(folder: Path) -> Path:
    with h5py.File(folder / "cube.mat", "w") as file:
        stored = file.create_dataset("cube", data=CUBE.T, chunks=(3, 7, 6), compression="gzip")
        stored.attrs["MATLAB_class"] = np.bytes_(b"uint16")
    return folder / "cube.mat"


def _hdf5(folder: Path) -> Path:
    with h5py.File(folder / "cube.h5", "w") as file:
        file["group/cube"] = CUBE
    return folder / "cube.h5"


MAKERS = [
    _envi,
    _envi_data,
    _tiff,
    _tiff_compressed,
    _ome,
    _imagej,
    _npy,
    _npz,
    _npz_compressed,
    _matlab_5,
    _matlab_5_compressed,
    _matlab_73,
    _hdf5,
]


def read_all(path: Path) -> None:
    """Read the whole cube."""
    cube = read_cube(path)
    check_pixels(cube)
    assert cube.to_numpy().shape == cube.shape


def error_message(path: Path) -> str:
    """Return the error message of a file; empty if it can be read, as with changed pixels only."""
    try:
        read_all(path)
    except CarlError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("make", MAKERS)
def test_an_undamaged_file_is_read(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    assert is_readable(path)
    assert np.array_equal(read_cube(path).to_numpy(), CUBE)


@pytest.mark.parametrize("make", MAKERS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_is_read_or_raises_one_clear_error(
    make: Callable[[Path], Path], tmp_path: Path, data: st.DataObject
) -> None:
    path = make(tmp_path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut off"):
        content = content[: data.draw(st.integers(0, len(content) - 1), label="length")]
    for _ in range(data.draw(st.integers(0, 4), label="flips") if content else 0):
        at = data.draw(st.integers(0, len(content) - 1), label="at")
        content[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    path.write_bytes(content)
    is_readable(path)
    message = error_message(path)
    assert message == "" or ("cube" in message and "\n" not in message)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_is_never_read_as_another_cube(
    make: Callable[[Path], Path], tmp_path: Path, fraction: float
) -> None:
    path = make(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    # The missing part may hold no pixels but a directory of pages or wavelengths.
    assert error_message(path) or np.array_equal(read_cube(path).to_numpy(), CUBE)


@pytest.mark.parametrize("suffix", [".hdr", ".dat", ".tif", ".npy", ".npz", ".mat", ".h5"])
@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a letter", b"\x89PNG\r\n\x1a\n" + b"\0" * 99]
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"letter{suffix}"
    path.write_bytes(content)
    with pytest.raises(CubeError, match=r"letter\..*\.$"):
        read_all(path)
