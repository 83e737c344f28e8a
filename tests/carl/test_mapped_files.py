from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from carl import mapped_files
from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.mapped_files import FileArray, SharedFile, open_array, read_mapped, unmapped

SHAPE = (40, 30, 20)
VALUES = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(">u2")
START = 10_001
"""Position of the values: neither at the start of the file nor of a page."""

any_slice = st.builds(
    slice,
    st.none() | st.integers(-50, 50),
    st.none() | st.integers(-50, 50),
    st.sampled_from([None, 1, 2, 7, -1, -3]),
)
any_axes = st.permutations(range(3))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "cube.raw"
    path.write_bytes(b"\0" * START + VALUES.tobytes())
    return path


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    key=st.tuples(any_slice, any_slice, any_slice),
    axes=any_axes,
    gap=st.sampled_from([0, 30, 200, 2000, 1 << 14]),
    buffer=st.sampled_from([1, 50, 700, 5000, 1 << 19]),
)
def test_any_block_equals_that_of_the_array(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: tuple[slice, ...],
    axes: list[int],
    gap: int,
    buffer: int,
) -> None:
    monkeypatch.setattr(mapped_files, "_LARGEST_GAP", gap)
    monkeypatch.setattr(mapped_files, "_BUFFER_BYTES", buffer)
    stored = open_array(path, ">u2", START, SHAPE)
    read = stored.transpose(axes)[key]
    assert read.dtype == VALUES.dtype
    np.testing.assert_array_equal(read, VALUES.transpose(axes)[key])
    # The same block as a view of a memory map, with any strides.
    view = np.memmap(path, ">u2", "r", START, SHAPE).transpose(axes)[key]
    if view.size:
        read = read_mapped(view)
        assert not np.shares_memory(read, view)
        np.testing.assert_array_equal(read, view)


def test_values_are_in_memory_as_in_the_file(path: Path) -> None:
    whole = open_array(path, ">u2", START, SHAPE).transpose((2, 0, 1))[...]
    assert whole.transpose(1, 2, 0).flags.c_contiguous
    columns_first = open_array(path, ">u2", START, SHAPE, "F")
    assert np.array_equal(columns_first, VALUES.reshape(-1).reshape(SHAPE, order="F"))


def test_only_the_bytes_around_a_block_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[tuple[int, int]] = []

    def recorded(file: SharedFile, runs: NDArray[np.uint8], positions: list[int]) -> None:
        reads.extend((position - START, runs.shape[1]) for position in positions)

    monkeypatch.setattr(SharedFile, "read_runs", recorded)
    stored = open_array(path, ">u2", START, SHAPE)
    row = 30 * 20 * 2
    stored[3, 4]
    assert reads == [(3 * row + 4 * 40, 40)]
    reads.clear()
    stored[5:9]
    assert reads == [(5 * row, 4 * row)]
    reads.clear()
    stored[5:9, 2:6]
    assert reads == [(5 * row + 80, 3 * row + 160)]
    reads.clear()
    monkeypatch.setattr(mapped_files, "_LARGEST_GAP", 500)
    stored[5:9, 2:6]
    assert reads == [(top * row + 80, 160) for top in range(5, 9)]
    reads.clear()
    monkeypatch.setattr(mapped_files, "_BUFFER_BYTES", 800)
    stored[5:7, :, 3]
    assert reads == [
        (top * row + left * 40 + 6, 19 * 40 + 2 if left == 0 else 9 * 40 + 2)
        for top in (5, 6)
        for left in (0, 20)
    ]


def test_only_maps_that_nothing_writes_to_are_replaced(path: Path) -> None:
    changed = np.memmap(path, ">u2", "c", START, SHAPE)
    changed[:] = 2
    assert read_mapped(changed) is changed
    plain = np.ones((8, 8, 8))
    assert unmapped(plain) is plain
    assert isinstance(unmapped(np.memmap(path, ">u2", "r", START, SHAPE)[::2]), FileArray)


def test_the_memory_map_of_a_cube_is_replaced(path: Path) -> None:
    mapped = np.memmap(path, ">u2", "r", START, SHAPE)
    cube = SpectralCube(mapped[:, ::-1])
    assert isinstance(cube.data, FileArray)
    assert np.array_equal(cube.read(), VALUES[:, ::-1])


@pytest.mark.parametrize("shape", [(40, 30, 21), (1 << 40, 1 << 40, 2), (-1, 30, 20)])
def test_an_array_larger_than_its_file_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(CubeError, match=r"cube\.raw is (cut off or )?damaged"):
        open_array(path, ">u2", START, shape)


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.ones((64, 64, 16), np.float32))
    cube = SpectralCube(np.load(tmp_path / "cube.npy", mmap_mode="r"))
    os.truncate(tmp_path / "cube.npy", 5000)
    with pytest.raises(CubeError, match=r"cube\.npy became shorter while it was being read"):
        cube.read()
    assert cube.spectrum(0, 0).sum() == 16


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove files that are in use")
def test_a_removed_file_can_still_be_read(tmp_path: Path) -> None:
    np.save(tmp_path / "cube.npy", np.ones((8, 8, 8), np.float32))
    mapped = np.load(tmp_path / "cube.npy", mmap_mode="r")
    cube = SpectralCube(mapped)
    (tmp_path / "cube.npy").unlink()
    assert cube.read().sum() == 512
    assert read_mapped(mapped).sum() == 512


def test_a_read_error_of_the_disk_names_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: SharedFile, buffer: memoryview, position: int) -> int:
        raise OSError(5, "Input/output error")

    stored = open_array(path, ">u2", START, SHAPE)
    monkeypatch.setattr(SharedFile, "_read_some", fail)
    with pytest.raises(CubeError, match=r"cube\.raw cannot be read \(Input/output error\)"):
        stored[0]


@pytest.mark.parametrize("at_a_position", [True, False])
def test_threads_read_the_same_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, at_a_position: bool
) -> None:
    if not at_a_position:  # as on Windows
        monkeypatch.delattr(os, "preadv", raising=False)
    stored = open_array(path, ">u2", START, SHAPE)

    def is_right(row: int) -> bool:
        return np.array_equal(stored[row, ::3], VALUES[row, ::3])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(is_right, [*range(40)] * 10))


def test_a_part_of_a_read_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: Any = SharedFile._read_some
    monkeypatch.setattr(
        SharedFile, "_read_some", lambda file, buffer, at: whole(file, buffer[:1000], at)
    )
    assert np.array_equal(open_array(path, ">u2", START, SHAPE), VALUES)


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
