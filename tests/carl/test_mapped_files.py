from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.mapped_files import read_mapped

SHAPE = (40, 30, 20)


@pytest.fixture(autouse=True)
def read_every_block_from_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carl.mapped_files._MIN_BYTES", 1)
    monkeypatch.setattr("carl.mapped_files._MIN_RUN", 1)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> np.memmap:
    """A memory map that starts neither at the start of its file nor of a page."""
    path = tmp_path_factory.mktemp("maps") / "cube.raw"
    values = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(">u2")
    path.write_bytes(b"\0" * 10_001 + values.tobytes())
    return np.memmap(path, ">u2", "r", 10_001, SHAPE)


def spans(length: int) -> st.SearchStrategy[slice]:
    ends = st.tuples(st.integers(0, length - 1), st.integers(1, length), st.sampled_from([1, 1, 3]))
    return ends.map(lambda each: slice(each[0], each[0] + each[1], each[2]))


@settings(max_examples=200)
@given(key=st.tuples(*map(spans, SHAPE)), axes=st.permutations(range(3)))
def test_any_block_equals_the_map(
    mapped: np.memmap, key: tuple[slice, ...], axes: list[int]
) -> None:
    block = np.asarray(mapped[key]).transpose(axes)
    read = read_mapped(block)
    assert read.dtype == block.dtype
    np.testing.assert_array_equal(read, block)
    if all(span.step == 1 for span in key):
        assert not np.shares_memory(read, block)


def test_only_read_only_maps_are_read_from_their_file(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.ones((8, 8, 8), np.float32))
    changed = np.load(tmp_path / "cube.npy", mmap_mode="c")
    changed[:] = 2
    assert read_mapped(changed) is changed
    plain = np.ones((8, 8, 8))
    assert read_mapped(plain) is plain
    assert read_mapped(plain[::-1]).flags.owndata is False


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.ones((64, 64, 16), np.float32))
    cube = SpectralCube(np.load(tmp_path / "cube.npy", mmap_mode="r"))
    os.truncate(tmp_path / "cube.npy", 5000)
    with pytest.raises(CubeError, match=r"cube\.npy became shorter while it was being read"):
        cube.read()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove files that are in use")
def test_a_removed_file_is_read_from_its_map(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.ones((8, 8, 8), np.float32))
    cube = SpectralCube(np.load(tmp_path / "cube.npy", mmap_mode="r"))
    (tmp_path / "cube.npy").unlink()
    assert cube.read().sum() == 512


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="the memory of a map is read from /proc"
)
@pytest.mark.parametrize("every_band", [True, False])
def test_reading_a_cube_leaves_its_map_out_of_memory(tmp_path: Path, every_band: bool) -> None:
    path = tmp_path / "cube.npy"
    np.save(path, np.ones((256, 256, 16), np.float32))
    mapped = np.load(path, mmap_mode="r")
    good = np.array([True] * 15 + [every_band])
    cube = SpectralCube(mapped, np.arange(400.0, 416), good_bands=good).usable_bands()
    assert cube.read().sum() == 256 * 256 * good.sum()
    assert resident(path) < mapped.nbytes / 8
    assert mapped.sum() == mapped.size
    assert resident(path) >= mapped.nbytes


def resident(path: Path) -> int:
    """Return the bytes of a mapped file that count as memory of this process."""
    lines = iter(Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.endswith(str(path)):
            return next(int(each.split()[1]) << 10 for each in lines if each.startswith("Rss:"))
    return 0
