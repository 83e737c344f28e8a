"""Time from a stroke to the label map of a 24-megapixel cube, whose features are computed once.

A synthetic cube of 16-bit numbers is written to a temporary folder. Its features are computed once
and held on disk where they exceed the memory limit; then strokes are added one by one, and the cube
is segmented after each as in the dock. "Read" is the number of values read from the cube, as a
multiple of its size: it stays 0 after the features are computed, or the benchmark fails.

    python benchmarks/large_cube_strokes.py
    python benchmarks/large_cube_strokes.py --megapixels 4 --model carl-nano --speed turbo
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from machine import machine_line

from carl.cube import SpectralCube
from carl.inference import ComputeOptions
from carl.io import read_cube
from carl.lazy_array import LazyArray
from carl.learning import compute_features
from carl.model import load_model
from carl.progress import no_progress
from napari_carl.segmentation import Viewport, segment

WAVELENGTHS = np.array([450.0, 500, 550, 600, 650, 700, 750, 800])
PEAKS = np.array([[470.0], [560], [640], [760]])
"""Centres of the reflectance peaks of four materials, nm."""
WIDTH = 6000
VIEW = Viewport((1000, 1700), (2500, 3500))
"""About the part of the cube that a window shows at full resolution."""


class CountedArray:
    """Pixels of a cube that count how many of their values are read."""

    def __init__(self, data: LazyArray) -> None:
        self._data = data
        self.shape, self.dtype = data.shape, data.dtype
        self.n_read = 0

    def __getitem__(self, key: Any) -> Any:
        block = self._data[key]
        self.n_read += np.size(block)
        return block


def write_cube(header: Path, height: int) -> None:
    """Write an ENVI file of four materials and noise, a few rows at a time."""
    random = np.random.default_rng(0)
    spectra = np.exp(-(((WAVELENGTHS - PEAKS) / 70) ** 2)).astype(np.float32)
    shape = (height, WIDTH, len(WAVELENGTHS))
    pixels = np.memmap(header.with_suffix(".dat"), "<u2", "w+", shape=shape)
    for top in range(0, height, 200):
        rows = np.arange(top, min(top + 200, height))
        material = (rows[:, None] // 500 + np.arange(WIDTH) // 500) % len(PEAKS)
        noise = random.normal(500, 100, (len(rows), WIDTH, len(WAVELENGTHS)))
        pixels[rows] = np.clip(4000 * spectra[material] + noise, 0, None)
    pixels.flush()
    keys = {
        "samples": WIDTH,
        "lines": height,
        "bands": len(WAVELENGTHS),
        "data type": 12,
        "interleave": "bip",
        "byte order": 0,
        "wavelength units": "Nanometers",
        "wavelength": f"{{{', '.join(f'{nm:.0f}' for nm in WAVELENGTHS)}}}",
    }
    header.write_text("\n".join(["ENVI", *(f"{key} = {value}" for key, value in keys.items())]))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=24.0, help="size of the cube")
    parser.add_argument("--strokes", type=int, default=5, help="number of strokes after the first")
    parser.add_argument("--model", default="none", help="network by name; none: filter bank alone")
    parser.add_argument("--speed", default="exact", choices=["exact", "turbo"])
    parser.add_argument("--folder", type=Path, help="for the cube; the system's by default")
    options = parser.parse_args()
    print(machine_line())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        header = Path(folder, "cube.hdr")
        height = max(1700, round(options.megapixels * 1e6 / WIDTH))
        write_cube(header, height)
        stored = read_cube(header)
        pixels = CountedArray(stored.data)
        cube = SpectralCube(pixels, stored.wavelengths, name="synthetic")
        measure(cube, pixels, options)


def measure(cube: SpectralCube, pixels: CountedArray, options: argparse.Namespace) -> None:
    """Compute the features and segment after every stroke; print one line each."""
    n_values = np.prod(cube.shape, dtype=float)
    model = None if options.model == "none" else load_model(options.model)
    start = perf_counter()
    features = compute_features(cube, model, options=ComputeOptions(speed=options.speed))
    seconds = perf_counter() - start
    print(
        f"{cube.shape[0]} × {cube.shape[1]} pixels, {cube.n_bands} bands, network {options.model}"
    )
    print(repr(features), flush=True)
    print(f"{'':<22}{'visible part / s':>18}{'all labels / s':>16}{'read':>8}")
    print(f"{'features':<22}{'':>18}{seconds:>16.1f}{pixels.n_read / n_values:>8.2f}")
    strokes = np.zeros(cube.shape[:2], np.uint8)
    strokes[250, 100:400], strokes[250, 600:900] = 1, 2
    before = None
    for number in range(options.strokes + 1):
        row, column = 500 * number + 250, 100 + 500 * (number % 8)
        strokes[row % cube.shape[0], column : column + 200] = 1 + number % 2
        n_read, start = pixels.n_read, perf_counter()
        results = segment(features, strokes, (), before, lambda: VIEW, no_progress)
        next(results)
        visible = perf_counter() - start
        before = list(results)[-1].labels
        read = (pixels.n_read - n_read) / n_values
        name = "first strokes" if number == 0 else f"further stroke {number}"
        print(f"{name:<22}{visible:>18.2f}{perf_counter() - start:>16.2f}{read:>8.2f}")
        if read:
            raise SystemExit("The cube was read again: its features were recomputed.")


if __name__ == "__main__":
    main()
