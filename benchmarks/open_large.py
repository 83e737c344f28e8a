"""Measure time and added memory of opening a large file of every format that can be opened lazily.

The files have the stated size and no pixels on the disk (sparse files, chunks without a file).
Each one is opened in a process of its own, in which `carl.io` was imported before. Printed are the
elapsed and the processor time of `carl.io.read_cube`, libraries that it loads included; the
resident memory that it adds; and the time of reading the spectrum of a pixel afterwards. The exit
status is 1 if a file takes more than a second of processor time or more than 200 MB.

Compressed arrays of ``.npz`` and MATLAB 5 are one stream, and are loaded whole: not listed.

    python benchmarks/open_large.py              # 10 GB each
    python benchmarks/open_large.py --gb 1 --format "NetCDF 3"
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import container_files
import numpy as np
import tifffile
from container_files import Shape
from machine import machine_line

WIDTH, BANDS = 2000, 250
MOST_SECONDS = 1.0
MOST_MEGABYTES = 200.0
OPEN = """
import json, os, sys, time
import carl.io
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before, began, worked = resident(), time.perf_counter(), time.process_time()
cube = carl.io.read_cube(sys.argv[1])
opened, used = time.perf_counter() - began, time.process_time() - worked
added, began = resident() - before, time.perf_counter()
cube.spectrum(cube.shape[0] - 1, 7)
print(json.dumps([cube.shape, opened, used, added, time.perf_counter() - began]))
"""


def envi(folder: Path, shape: Shape) -> Path:
    """Write ENVI, BIL."""
    height, width, n_bands = shape
    path = folder / "cube.hdr"
    path.write_text(
        f"ENVI\nsamples = {width}\nlines = {height}\nbands = {n_bands}\ndata type = 12\n"
        "interleave = bil\n"
    )
    return _sparse(path, ".dat", 2 * height * width * n_bands)


def tivita(folder: Path, shape: Shape) -> Path:
    """Write a SpecCube, whose numbers take twice as many bytes."""
    height, width, n_bands = shape[0] // 2, shape[1], shape[2]
    path = folder / "cube_SpecCube.dat"
    path.write_bytes(struct.pack(">3i", width, height, n_bands))
    return _sparse(path, "", 4 * height * width * n_bands)


def tiff(folder: Path, shape: Shape) -> Path:
    """Write a BigTIFF with a page for each band."""
    height, width, n_bands = shape
    path = folder / "cube.tif"
    tifffile.imwrite(path, shape=(n_bands, height, width), dtype="u2", bigtiff=True)
    return path


def npy(folder: Path, shape: Shape) -> Path:
    """Write a .npy file."""
    path = folder / "cube.npy"
    np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    return path


FORMATS: dict[str, Callable[[Path, Shape], Path]] = {
    "ENVI": envi,
    "TIFF": tiff,
    "Tivita": tivita,
    "NumPy .npy": npy,
    "MATLAB 7.3": container_files.matlab_7,
    "HDF5": container_files.hdf5,
    "HDF5, chunks": lambda folder, shape: container_files.hdf5(folder, shape, chunks=True),
    "PRISMA": container_files.prisma,
    "EMIT (NetCDF 4)": container_files.emit,
    "NetCDF 3": container_files.netcdf_3,
    "EnMAP": container_files.enmap,
    "Zarr": container_files.zarr_3,
    "Zarr, shards": lambda folder, shape: container_files.zarr_3(folder, shape, shards=True),
    "OME-Zarr": container_files.ome_zarr,
    "Zeiss CZI": container_files.czi,
    "Headwall folder": container_files.headwall,
}


def main() -> None:
    """Print the table; exit with status 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=10.0, help="size of each file")
    parser.add_argument("--format", action="append", default=[], choices=[*FORMATS])
    options = parser.parse_args()
    shape = (round(options.gb * 1e9 / (2 * WIDTH * BANDS)), WIDTH, BANDS)
    print(machine_line())
    print(
        f"{'':18}{'size / GB':>10}{'open / s':>10}{'CPU / s':>9}{'added / MB':>12}{'pixel / s':>11}"
    )
    exceeded = []
    for name in options.format or FORMATS:
        with TemporaryDirectory() as folder:
            path = FORMATS[name](Path(folder), shape)
            command = [sys.executable, "-c", OPEN, str(path)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found, opened, used, added, pixel = json.loads(output)
        size = 2 * np.prod(found, dtype=float) / 1e9 * (2 if name == "Tivita" else 1)
        print(f"{name:18}{size:10.1f}{opened:10.2f}{used:9.2f}{added / 1e6:12.0f}{pixel:11.2f}")
        if used > MOST_SECONDS or added > MOST_MEGABYTES * 1e6:
            exceeded.append(name)
    if exceeded:
        sys.exit(f"Over {MOST_SECONDS:.0f} s or {MOST_MEGABYTES:.0f} MB: {', '.join(exceeded)}")


def _sparse(path: Path, suffix: str, n_bytes: int) -> Path:
    """Append bytes that take no space on the disk to a file, or to the one with another suffix."""
    data = path.with_suffix(suffix) if suffix else path
    with data.open("ab") as file:
        file.truncate(file.seek(0, 2) + n_bytes)
    return path


if __name__ == "__main__":
    main()
