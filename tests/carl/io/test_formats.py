"""Choice of the reader for a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.io import (
    READABLE_SUFFIXES,
    is_readable,
    read_cube,
    read_labels,
    write_cube,
    write_labels,
)
from carl.spectra.normalise import check_pixels


def test_readable_suffixes_start_with_a_dot() -> None:
    assert {".hdr", ".dat", ".tif", ".npy", ".npz", ".mat", ".h5"} <= set(READABLE_SUFFIXES)
    assert all(suffix.startswith(".") for suffix in READABLE_SUFFIXES)


@pytest.mark.parametrize("name", ["none.hdr", "picture.png", "", "x" * 5000, "nul\0l.tif", "."])
def test_files_that_are_not_cubes_are_not_readable(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    assert not is_readable(path)
    with pytest.raises(CubeError):
        read_cube(path)


def test_a_radiance_hdr_picture_is_not_readable(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n")
    assert not is_readable(tmp_path / "a.hdr")


def test_errors_name_files_of_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(CubeError, match=r"a\.gif has an unknown format: open an ENVI"):
        read_cube(tmp_path / "a.gif")
    with pytest.raises(CubeError, match="is a folder"):
        read_cube(tmp_path)
    with pytest.raises(CubeError, match=r"gone\.mat does not exist"):
        read_cube(tmp_path / "gone.mat")


@pytest.mark.parametrize("suffix", [".hdr", ".dat", ".tif", ".npy", ".npz", ".mat", ".h5"])
@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a letter", b"\x89PNG\r\n\x1a\n" + b"\0" * 99]
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"letter{suffix}"
    path.write_bytes(content)
    with pytest.raises(CubeError, match=r"letter\..*\.$"):
        check_pixels(read_cube(path))


def test_upper_case_suffixes_are_readable(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 3)))
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    assert read_cube(tmp_path / "A.NPY").shape == (8, 8, 3)


@pytest.mark.parametrize("stem", ["a" * 240, "a" * 251, "🔬" * 62])
def test_names_up_to_the_limit_of_the_disk_can_be_read(tmp_path: Path, stem: str) -> None:
    cube = np.zeros((9, 8, 3), np.uint8)
    np.save(tmp_path / f"{stem}.npy", cube)
    tifffile.imwrite(tmp_path / f"{stem}.tif", cube, metadata={"axes": "YXC"})
    for header in write_cube(tmp_path / f"{stem}.hdr", SpectralCube(cube)):
        assert read_cube(header).shape == cube.shape
    assert read_cube(tmp_path / f"{stem}.npy").name == stem
    assert read_cube(tmp_path / f"{stem}.tif").shape == cube.shape
    assert read_labels(write_labels(tmp_path / f"{stem}.tif", cube[..., 0])).labels.shape == (9, 8)


def test_real_files_are_read_or_raise_one_clear_error(real_cubes: Path) -> None:
    assert_read_or_refused(real_cubes, least=7)


def test_shared_files_are_read_or_raise_one_clear_error(shared: Path) -> None:
    assert_read_or_refused(shared / "data", least=25)


def assert_read_or_refused(folder: Path, least: int) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    refused = []
    for path in files:
        try:
            check_pixels(read_cube(path))
        except CubeError as error:
            refused.append((path, str(error)))
    assert len(files) - len(refused) >= least
    for path, message in refused:
        assert path.stem in message
        assert message.endswith(".")
        assert "\n" not in message


def test_reading_imports_no_torch_and_few_other_modules() -> None:
    code = (
        "import sys, numpy; n_modules = len(sys.modules); import carl.io; "
        "n_modules = len(sys.modules) - n_modules; "
        "heavy = {'torch', 'napari', 'scipy', 'h5py', 'tifffile', 'spectral', 'PIL'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "assert n_modules < 180, n_modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
