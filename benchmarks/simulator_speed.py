"""How many simulated crops one core draws in a second, noise and truth maps included.

Each crop is another scene; cameras are made beforehand, except in the row of random ones. "Wall"
is what a busy machine gives, "processor" what the core itself needs; both are medians over batches
with the quartiles behind them.

    python benchmarks/simulator_speed.py
"""

from __future__ import annotations

import os

os.environ.update({name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")})

import argparse
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np
from machine import machine_line

from carl.simulation import KINDS, SimulatedCamera, gaussian_camera, random_camera, simulate_scene

Draw = Callable[[np.random.Generator], object]


def cameras() -> Iterator[tuple[str, SimulatedCamera]]:
    """Cameras from few to many bands."""
    yield "3 bands, 460-620 nm", gaussian_camera([460, 550, 620], 80)
    yield "32 bands, 450-900 nm", gaussian_camera(np.linspace(450, 900, 32), 15)
    yield "32 bands, 400-2500 nm", gaussian_camera(np.linspace(400, 2500, 32), 60)
    yield "100 bands, 500-1000 nm", gaussian_camera(np.linspace(500, 1000, 100), 6)
    yield "224 bands, 400-2500 nm", gaussian_camera(np.linspace(400, 2500, 224), 10)


def rates(draw: Draw, batches: int, crops: int) -> np.ndarray:
    """Crops a second by the wall clock and by processor time, (batches, 2)."""
    draw(np.random.default_rng(0))  # tables are read once
    measured = []
    for batch in range(batches):
        wall, processor = time.perf_counter(), time.process_time()
        for crop in range(crops):
            draw(np.random.default_rng((batch, crop)))
        elapsed = time.perf_counter() - wall, time.process_time() - processor
        measured.append([crops / seconds for seconds in elapsed])
    return np.array(measured)


def row(name: str, kind: str, measured: np.ndarray) -> str:
    """One line of the table."""
    low, middle, high = np.percentile(measured, (25, 50, 75), axis=0)
    cells = (f"{middle[i]:5.0f} ({low[i]:.0f}-{high[i]:.0f})".ljust(18) for i in range(2))
    return f"{name:<24}  {kind:<8}  {'  '.join(cells)}".rstrip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64, help="of a crop, in pixels")
    parser.add_argument("--batches", type=int, default=11)
    parser.add_argument("--crops", type=int, default=20, help="per batch")
    options = parser.parse_args()
    shape = (options.side, options.side)
    print(f"{machine_line()} · scipy {version('scipy')}")
    print(f"One core, crops of {shape[0]} × {shape[1]} pixels; crops a second: median (quartiles)")
    print(f"{'camera':<24}  {'scene':<8}  {'wall':<18}  processor")

    def measure(draw: Draw) -> np.ndarray:
        return rates(draw, options.batches, options.crops)

    for name, camera in cameras():
        for kind in KINDS:
            print(row(name, kind, measure(lambda g: simulate_scene(g, shape, camera, kind))))  # noqa: B023
    print(row("random", "random", measure(lambda g: simulate_scene(g, shape, random_camera(g)))))


if __name__ == "__main__":
    main()
