"""Measure time and peak memory of ``carl embed`` and ``carl predict`` by the size of the cube.

Cubes of 224 bands of 16 bits, 2048 pixels wide, are written as ENVI into a temporary folder and
passed to the command in a process of its own, on the CPU. Peak memory is the resident memory that
the system reports for that process, with PyTorch and the network (the row without a cube loads only
these). The largest cube is written last; the features take a few per cent of its size on disk. The
segmenter of ``carl predict`` is fitted to a few labels on a small cube of the same kind; with the
model "none" it uses the filter bank alone.

    python benchmarks/cube_size.py                       # up to 1 GB, minutes
    python benchmarks/cube_size.py --largest 6 --speed turbo
    python benchmarks/cube_size.py --interleave bsq --model carl-small --largest 0.2
    python benchmarks/cube_size.py --command predict --model none --largest 3
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import machine_line

BANDS, WIDTH = 224, 2048
WAVELENGTHS = np.linspace(400, 1000, BANDS)
ROWS_AT_ONCE = 8
FIT = """
import sys, numpy, carl
cube, labels, fitted, model, speed = sys.argv[1:]
network = None if model == "none" else carl.load_model(model, "cpu")
segmenter = carl.Segmenter(network, speed=speed)
segmenter.fit(carl.read_cube(cube), numpy.load(labels)).save(fitted)
"""
LOAD = "from carl.model import load_model; load_model({!r}, 'cpu')"
AXES = {"bip": (0, 1, 2), "bil": (0, 2, 1), "bsq": (2, 0, 1)}
"""Order of rows, columns and bands in the file."""


class Run(NamedTuple):
    """Elapsed seconds and peak memory in bytes of a process."""

    seconds: float
    peak: int


def write_cube(header: Path, n_bytes: float, interleave: str) -> int:
    """Write a cube of four materials with noise, a few rows at a time; return its bytes."""
    height = max(1, round(n_bytes / (2 * BANDS * WIDTH * ROWS_AT_ONCE))) * ROWS_AT_ONCE
    shape = (height, WIDTH, BANDS)
    axes = AXES[interleave]
    data = np.memmap(
        header.with_suffix(".dat"), "<u2", "w+", shape=tuple(shape[axis] for axis in axes)
    )
    pixels = data.transpose(np.argsort(axes))
    random = np.random.default_rng(0)
    peaks = np.array([[450], [560], [680], [820]])
    spectra = np.exp(-(((WAVELENGTHS - peaks) / 70) ** 2)).astype(np.float32)
    noise = random.normal(500, 20, (ROWS_AT_ONCE, WIDTH, BANDS)).astype(np.float32)
    for top in range(0, height, ROWS_AT_ONCE):
        amounts = random.random((ROWS_AT_ONCE, WIDTH // 8, 4), np.float32).repeat(8, 1)
        noise = np.roll(noise, int(random.integers(WIDTH)), axis=1)
        pixels[top : top + ROWS_AT_ONCE] = 4000 * amounts @ spectra + noise
    data.flush()
    keys = {
        "samples": WIDTH,
        "lines": height,
        "bands": BANDS,
        "data type": 12,
        "interleave": interleave,
        "byte order": 0,
        "wavelength units": "Nanometers",
        "wavelength": f"{{{', '.join(f'{nm:.2f}' for nm in WAVELENGTHS)}}}",
    }
    header.write_text(
        "\n".join(["ENVI", *(f"{key} = {value}" for key, value in keys.items())]), encoding="utf-8"
    )
    return int(data.nbytes)


def run(*arguments: str) -> Run:
    """Run Python in a process of its own and measure it."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with status {process.returncode}")
    in_kilobytes = sys.platform != "darwin"
    return Run(seconds, used.ru_maxrss * (1024 if in_kilobytes else 1))


def embedding(folder: Path, cube: Path, model: str, speed: str) -> list[str]:
    """Return the arguments of ``carl embed``."""
    output = str(folder / "cube.npz")
    return ["embed", str(cube), "-o", output, "--device", "cpu", "--model", model, "--speed", speed]


def predicting(folder: Path, cube: Path, model: str, speed: str) -> list[str]:
    """Fit a segmenter to a few labels; return the arguments of ``carl predict``."""
    small, fitted = folder / "small.hdr", str(folder / "fitted.carl")
    write_cube(small, 2 * BANDS * WIDTH * 64, "bil")
    labels = np.zeros((64, WIDTH), np.uint8)
    for value in range(1, 5):
        labels[16 * value - 14, 40 * value : 40 * value + 80] = value
    np.save(folder / "labels.npy", labels)
    run("-c", FIT, str(small), str(folder / "labels.npy"), fitted, model, speed)
    return ["predict", str(cube), "--model", fitted, "-o", str(folder / "maps"), "--device", "cpu"]


PREPARED = {"embed": embedding, "predict": predicting}


def row(n_bytes: float, runs: list[Run]) -> str:
    """Return a line of the table: medians, and the range of several runs in brackets."""
    cells = []
    for values, digits in (
        ([each.seconds for each in runs], 1),
        ([each.peak / 2**20 for each in runs], 0),
    ):
        spread = f" ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(runs) > 1 else ""
        cells.append(f"{np.median(values):.{digits}f}{spread}")
    return f"{n_bytes / 1e9:>9.2f}  {cells[0]:>22}  {cells[1]:>22}"


def main() -> None:
    """Print the table and the slopes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=1.0, help="cube, in GB")
    parser.add_argument("--sizes", type=int, default=4, help="how many, each half the next one")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each size")
    parser.add_argument("--model", default="carl-nano", help="a name or a file")
    parser.add_argument("--speed", default="exact", choices=["exact", "turbo"])
    parser.add_argument("--interleave", default="bil", choices=list(AXES))
    parser.add_argument("--folder", type=Path, help="for the cubes; the system's by default")
    parser.add_argument("--command", default="embed", choices=["embed", "predict"])
    options = parser.parse_args()

    load = (
        "import carl.learning.segmenter" if options.model == "none" else LOAD.format(options.model)
    )
    print(machine_line())
    print(
        f"carl {options.command}, {options.model}, {options.speed}, {options.interleave}, "
        f"{BANDS} bands, CPU; {options.repeats} run(s) each"
    )
    print(f"{'cube / GB':>9}  {'time / s':>22}  {'peak memory / MiB':>22}")
    print(row(0, [run("-c", load) for _ in range(options.repeats)]), flush=True)
    sizes, all_runs = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        header = Path(folder, "cube.hdr")
        command = PREPARED[options.command](Path(folder), header, options.model, options.speed)
        for step in reversed(range(options.sizes)):
            # In another process: the memory of this one would count for the processes it starts.
            with ProcessPoolExecutor(1, get_context("spawn")) as writer:
                wanted = options.largest * 1e9 / 2**step
                size = writer.submit(write_cube, header, wanted, options.interleave).result()
            runs = [run("-m", "carl", *command) for _ in range(options.repeats)]
            print(row(size, runs), flush=True)
            sizes += [size / 1e9] * len(runs)
            all_runs += runs
    if len(set(sizes)) > 1:
        seconds, start = np.polyfit(sizes, [each.seconds for each in all_runs], 1)
        memory, _ = np.polyfit(sizes, [each.peak / 2**20 for each in all_runs], 1)
        print(f"slope: {seconds:.1f} s/GB after {start:.1f} s, {memory:+.1f} MiB/GB")


if __name__ == "__main__":
    main()
