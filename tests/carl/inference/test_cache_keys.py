from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.inference import cache_keys
from carl.inference.cache_keys import FileGuard, cube_key
from carl.io import read_cube, write_cube

NM = np.array([450.0, 550, 650])


def cube(seed: int = 0) -> SpectralCube:
    data = np.random.default_rng(seed).normal(size=(16, 16, 3)).astype(np.float32)
    return SpectralCube(data, NM)


def test_keys_differ_where_cubes_do(tmp_path: Path) -> None:
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
        replace(base, data=base.data[:, ::-1]),
        replace(base, metadata={"path": str(path), "variable": "b"}),
    ]
    keys = {cube_key(other) for other in others}
    assert len(keys | {key}) == len(others) + 1
    os.utime(path, ns=(1, 1))
    assert cube_key(base) not in keys | {key}


def test_a_file_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    header, _ = write_cube(tmp_path / "a.hdr", cube())
    before = cube_key(read_cube(header))
    moved = tmp_path / "folder"
    moved.mkdir()
    for path in (header, header.with_suffix(".dat")):
        path.rename(moved / path.name)
    assert cube_key(read_cube(moved / "a.hdr")) == before


@pytest.mark.parametrize("change", ["touch", "cut", "remove"])
@pytest.mark.parametrize("opened", ["a.hdr", "a.dat"])
def test_a_change_of_the_data_is_noticed(tmp_path: Path, change: str, opened: str) -> None:
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


def test_a_cube_without_a_file_cannot_change() -> None:
    FileGuard(cube()).check()


def test_the_code_that_makes_features_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    key = cache_keys.code_key.__wrapped__
    before = key()
    assert key() == before
    monkeypatch.setattr(cache_keys, "__version__", "99")
    assert key() != before
    monkeypatch.undo()
    monkeypatch.setattr(cache_keys, "_MAKING_FEATURES", ("inference", "model"))
    assert key() != before
