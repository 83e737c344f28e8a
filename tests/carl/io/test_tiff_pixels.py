"""TIFF files in strips and tiles, compressed or scattered, read block by block."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carl.errors import CubeError
from carl.io import read_cube
from carl.lazy_array import LazyArray

CUBE = np.random.default_rng(0).integers(0, 999, (41, 37, 6), np.uint16)
BANDS_FIRST = np.moveaxis(CUBE, -1, 0)
ZLIB = {"compression": "zlib"}


def write_scattered(path: Path) -> None:
    """Write pages with other data between them."""
    with tifffile.TiffWriter(path, byteorder=">") as file:
        for band in BANDS_FIRST:
            file.write(band, contiguous=False, metadata=None)


def with_pages(**options: Any) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, BANDS_FIRST, metadata=None, **options)


def with_pixels_together(**options: Any) -> Callable[[Path], None]:
    metadata = {"axes": "YXC"}
    return lambda path: tifffile.imwrite(path, CUBE, metadata=metadata, **options)


MINIMAL = {"photometric": "minisblack"}
WRITERS = {
    "scattered": write_scattered,
    "pages": with_pages(**ZLIB),
    "strips": with_pages(rowsperstrip=4, **ZLIB),
    "differences": with_pages(rowsperstrip=5, predictor=True, **ZLIB),
    "other order": with_pages(rowsperstrip=7, byteorder=">", **ZLIB),
    "lzma": with_pages(rowsperstrip=7, compression="lzma"),
    "plain tiles": with_pages(tile=(16, 32)),
    "tiles": with_pages(tile=(16, 16), **ZLIB),
    "planes": with_pages(planarconfig="separate", rowsperstrip=8, **MINIMAL, **ZLIB),
    "plane tiles": with_pages(planarconfig="separate", tile=(16, 32), **MINIMAL, **ZLIB),
    "together": with_pixels_together(planarconfig="contig", rowsperstrip=3, **MINIMAL, **ZLIB),
    "together tiles": with_pixels_together(planarconfig="contig", tile=(16, 16), **MINIMAL),
    "volume": with_pages(volumetric=True, tile=(4, 16, 16), **MINIMAL, **ZLIB),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=st.tuples(*(st.slices(n) for n in CUBE.shape)))
def test_blocks_equal_those_of_the_loaded_file(
    tmp_path: Path, write: Callable[[Path], None], key: tuple[slice, ...]
) -> None:
    path = tmp_path / "a.tif"
    if not path.exists():
        write(path)
    cube = read_cube(path)
    assert isinstance(cube.data, LazyArray)
    assert np.array_equal(cube.data[key], CUBE[key])
    assert cube.data.dtype == CUBE.dtype


def test_omitted_tiles_are_no_data(tmp_path: Path) -> None:
    tiles = iter([np.full((16, 16), 3, np.uint16), None] * 6)
    tifffile.imwrite(
        tmp_path / "a.tif",
        tiles,
        shape=(6, 16, 32),
        dtype=np.uint16,
        tile=(16, 16),
        compression="zlib",
        metadata=None,
        extratags=[(42113, "s", 0, "7", True)],
    )
    cube = read_cube(tmp_path / "a.tif")
    assert (cube.to_numpy()[:, :16] == 3).all()
    assert np.isnan(cube.to_numpy()[:, 16:]).all()


def test_threads_can_read_at_the_same_time(tmp_path: Path) -> None:
    WRITERS["strips"](tmp_path / "a.tif")
    cube = read_cube(tmp_path / "a.tif")
    rows = [slice(top, top + 6) for top in range(0, 36, 3)] * 10
    with ThreadPoolExecutor(8) as threads:
        for block, where in zip(threads.map(cube.read, rows), rows, strict=True):
            assert np.array_equal(block, CUBE[where])


def test_a_damaged_strip_raises_an_error_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    WRITERS["strips"](path)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[3].dataoffsets[5]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    cube = read_cube(path)
    assert np.array_equal(cube.read(slice(0, 20)), CUBE[:20])
    with pytest.raises(CubeError, match=r"a\.tif cannot be read as TIFF.*damaged"):
        cube.read(slice(18, 24))


@pytest.mark.parametrize("name", ["strips", "scattered"])
def test_a_file_truncated_while_open_raises_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    WRITERS[name](path)
    cube = read_cube(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(CubeError, match=r"a\.tif became shorter while it was being read"):
        cube.to_numpy()


def test_a_truncated_file_raises_an_error_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    WRITERS["planes"](path)
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(CubeError, match=r"a\.tif is cut off"):
        read_cube(path)
