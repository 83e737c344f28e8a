from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from carl.inference.npz import READ_ERRORS, is_checked_npy, read_npz, write_checked_npy, write_npz


def test_numpy_reads_arrays_written_in_blocks() -> None:
    values = np.random.default_rng(0).normal(size=(7, 4, 3)).astype(np.float32)
    turned = values.transpose(1, 0, 2)
    blocks = (values[start : start + 3] for start in range(0, 7, 3))
    file = io.BytesIO()
    write_npz(file, {"a": ((7, 4, 3), blocks), "b": ((4, 7, 3), [turned])}, {"ä": [1, None]})
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["a"], values)
        np.testing.assert_array_equal(loaded["b"], turned)
        assert json.loads(str(loaded["metadata"])) == {"ä": [1, None]}


def test_equal_content_gives_equal_bytes() -> None:
    files = io.BytesIO(), io.BytesIO()
    for file in files:
        write_npz(file, {"a": ((2, 1), [np.ones((2, 1), np.float32)])}, {})
    assert files[0].getvalue() == files[1].getvalue()


@pytest.mark.parametrize("mapped", [False, True])
def test_arrays_are_read_back(tmp_path: Path, mapped: bool) -> None:
    values = np.random.default_rng(0).normal(size=(300, 70, 9)).astype(np.float32)
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        arrays = {"a": (values.shape, [values]), "b": ((0, 3), [values[:0, 0, :3]])}
        write_npz(file, arrays, {"n": 1})
    loaded, metadata = read_npz(path, mapped=mapped)
    np.testing.assert_array_equal(loaded["a"], values)
    assert loaded["b"].shape == (0, 3)
    assert metadata == {"n": 1}
    assert isinstance(loaded["a"], np.memmap) == mapped


@pytest.mark.parametrize("mapped", [False, True])
def test_a_changed_byte_changes_nothing_or_is_an_error(tmp_path: Path, mapped: bool) -> None:
    values = np.random.default_rng(0).normal(size=(30, 7, 9)).astype(np.float32)
    path, random = tmp_path / "a.npz", np.random.default_rng(0)
    with path.open("wb") as file:
        write_npz(file, {"a": (values.shape, [values])}, {"n": 1})
    sound = path.read_bytes()
    structure = [*range(200), *range(len(sound) - 900, len(sound))]
    for position in [*structure, *random.integers(0, len(sound), 100)]:
        broken = bytearray(sound)
        broken[position] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        with suppress(*READ_ERRORS):
            arrays, metadata = read_npz(path, mapped=mapped)
            assert metadata == {"n": 1}
            for array in arrays.values():
                np.testing.assert_array_equal(array, values)


def test_the_checksum_of_an_array_is_compared(tmp_path: Path) -> None:
    values, path = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), tmp_path / "a"
    with path.open("wb") as file:
        write_checked_npy(file, values)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), values)
    sound = path.read_bytes()
    assert is_checked_npy(path)
    for position in range(len(sound)):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        assert not is_checked_npy(path)
        path.write_bytes(sound[:position])
        assert not is_checked_npy(path)
