from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import Cancelled, CubeError
from carl.inference import cache_keys
from carl.inference.cache_keys import FileGuard, content_key, cube_key
from carl.io import read_cube, write_cube

NM = np.array([450.0, 550, 650])


def cube() -> SpectralCube:
    data = np.random.default_rng(0).integers(0, 1000, (40, 16, 3)).astype(np.uint16)
    return SpectralCube(data, NM)


def test_cube_keys_of_different_cubes_differ(tmp_path: Path) -> None:
    path = tmp_path / "cube.npy"
    path.write_bytes(b"1")
    base = replace(cube(), metadata={"path": str(path)})
    key = cube_key(base)
    assert key == cube_key(replace(base))
    others = [
        cube(),
        replace(base, wavelengths=NM + 1),
        replace(base, scale=2.0),
        replace(base, nodata=0.0),
        replace(base, good_bands=np.array([True, True, False])),
        replace(base, data=base.data[:, ::-1, :]),
        replace(base, metadata={"path": str(path), "variable": "b"}),
    ]
    keys = {cube_key(other) for other in others}
    assert len(keys | {key}) == len(others) + 1
    os.utime(path, ns=(1, 1))
    assert cube_key(base) not in keys | {key}


def test_cube_key_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    header, _ = write_cube(tmp_path / "a.hdr", cube())
    before = cube_key(read_cube(header))
    moved = tmp_path / "folder"
    moved.mkdir()
    for path in (header, header.with_suffix(".dat")):
        path.rename(moved / path.name)
    assert cube_key(read_cube(moved / "a.hdr")) == before


def test_content_keys_of_different_cubes_differ() -> None:
    base = cube()
    pixel = np.array(base.data)
    pixel[17, 3, 1] += 1
    others = [
        replace(base, data=pixel),
        replace(base, data=np.asarray(base.data)[1:]),
        replace(base, data=np.asarray(base.data).reshape(16, 40, 3)),
        replace(base, data=np.asarray(base.data).view(np.int16)),
        replace(base, wavelengths=NM + 1),
        replace(base, wavelengths=None),
        replace(base, scale=0.5),
        replace(base, scale=np.array([1.0, 2, 3])),
        replace(base, offset=1.0),
        replace(base, nodata=0.0),
        replace(base, good_bands=np.array([True, True, False])),
    ]
    keys = {content_key(each) for each in [base, *others]}
    assert len(keys) == len(others) + 1


def test_content_key_does_not_depend_on_names_folders_and_times(tmp_path: Path) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())
    before = content_key(read_cube(header))
    os.utime(data, ns=(1, 1))
    moved = tmp_path / "b"
    moved.mkdir()
    header, data = (path.rename(moved / path.name) for path in (header, data))
    assert content_key(read_cube(header)) == before
    assert content_key(replace(cube(), name="other", metadata={"path": "x"})) == content_key(cube())


def test_content_key_notices_a_change_that_keeps_the_modification_time(tmp_path: Path) -> None:
    header, data = write_cube(tmp_path / "a.hdr", cube())
    before, stamp = content_key(read_cube(header)), data.stat()
    with data.open("r+b") as file:
        file.seek(stamp.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(data, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_key(read_cube(header)) != before


@pytest.mark.parametrize("n_bytes", [1, 1000, 1 << 20])
def test_content_key_does_not_depend_on_the_block_size(
    monkeypatch: pytest.MonkeyPatch, n_bytes: int
) -> None:
    before = content_key(cube())
    monkeypatch.setattr(cache_keys, "_BLOCK_BYTES", n_bytes)
    assert content_key(cube()) == before


def test_content_key_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(fraction: float, message: str) -> None:
        if fraction > 0.5:
            raise Cancelled("stopped")

    monkeypatch.setattr(cache_keys, "_BLOCK_BYTES", 1)
    with pytest.raises(Cancelled):
        content_key(cube(), stop)


@pytest.mark.parametrize("change", ["touch", "cut", "remove"])
@pytest.mark.parametrize("opened", ["a.hdr", "a.dat"])
def test_file_guard_notices_a_change_of_the_data(tmp_path: Path, change: str, opened: str) -> None:
    write_cube(tmp_path / "a.hdr", cube())
    guard = FileGuard(read_cube(tmp_path / opened))
    guard.check()
    data = tmp_path / "a.dat"
    if change == "touch":
        os.utime(data, ns=(1, 1))
    elif change == "cut":
        os.truncate(data, 100)
    else:
        data.unlink()
    with pytest.raises(CubeError, match="a changed on disk while it was being read"):
        guard.check()


def test_file_guard_accepts_a_cube_without_a_file() -> None:
    FileGuard(cube()).check()


def test_code_key_depends_on_version_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    key = cache_keys.code_key.__wrapped__
    before = key()
    assert key() == before
    monkeypatch.setattr(cache_keys, "__version__", "99")
    assert key() != before
    monkeypatch.undo()
    monkeypatch.setattr(cache_keys, "_PACKAGES", ("inference", "model"))
    assert key() != before
