"""Peak memory of a process that reads a compressed cube, which is never loaded whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

SHAPE = (64, 1200, 1500)
"""Bands, rows, columns: 230 MB of 16 bits."""
N_BYTES = 2 * 64 * 1200 * 1500
ALLOWED = 16 << 20
"""Largest size of the cache of decoded chunks, bytes."""

READ = """
import sys
from pathlib import Path
import numpy as np
from carl.io import chunked, read_cube
from carl.memory_cache import MemoryCache
import h5py, tifffile

chunked._cache = MemoryCache(int(sys.argv[2]), lambda chunk: chunk.nbytes)

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])

before = peak()
cube = read_cube(sys.argv[1])
total = 0
for top in range(0, cube.shape[0], 16):
    total += int(np.asarray(cube.data[top : top + 16]).sum(dtype=np.int64))
print(total, peak() - before)
"""


def bands() -> np.ndarray:
    """Return a cube that is fast to write and to compress."""
    columns = np.arange(SHAPE[2], dtype=np.uint16)
    return np.broadcast_to(columns, SHAPE)


def write_tiff(folder: Path) -> Path:
    pages = (page for page in bands())
    tifffile.imwrite(
        folder / "a.tif", pages, shape=SHAPE, dtype=np.uint16, compression="zlib", rowsperstrip=32
    )
    return folder / "a.tif"


def write_tiles(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", bands(), tile=(32, 512))
    return folder / "a.tif"


def write_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        options = {"chunks": (8, 32, 1500), "compression": "gzip", "compression_opts": 1}
        file.create_dataset("cube", data=bands(), **options)
    return folder / "a.h5"


def write_matlab(folder: Path) -> Path:
    """Write a file with reversed axes: a cube of 1500 rows, 1200 columns and 64 bands."""
    with h5py.File(folder / "a.mat", "w") as file:
        options = {"chunks": (64, 1200, 16), "compression": "gzip", "compression_opts": 1}
        dataset = file.create_dataset("cube", data=bands(), **options)
        dataset.attrs["MATLAB_class"] = np.bytes_(b"uint16")
    return folder / "a.mat"


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux reports the peak memory of one process"
)
@pytest.mark.parametrize("write", [write_tiff, write_tiles, write_hdf5, write_matlab])
def test_a_compressed_cube_is_read_without_being_loaded(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    command = (sys.executable, "-c", READ, write(tmp_path), str(ALLOWED))
    total, taken = map(int, subprocess.check_output(command, text=True).split())
    assert total == bands()[0].sum(dtype=np.int64) * SHAPE[0]
    # Beside the cache: a block, its chunks and the buffers of the decoder.
    assert taken < ALLOWED + N_BYTES / 4
