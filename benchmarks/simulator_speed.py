"""Measure the simulator in crops per second on one core, including noise and truth maps.

Each crop is a new scene; cameras are built in advance, except in the row of random ones. "Wall" is
elapsed time, which depends on the load of the machine, "processor" is the time of the core itself;
both are medians over batches, with quartiles.

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
    """Yield names and cameras, from few to many bands."""
    yield "3 bands, 460-620 nm", gaussian_camera([460, 550, 620], 80)
    yield "32 bands, 450-900 nm", gaussian_camera(np.linspace(450, 900, 32), 15)
    yield "32 bands, 400-2500 nm", gaussian_camera(np.linspace(400, 2500, 32), 60)
    yield "100 bands, 500-1000 nm", gaussian_camera(np.linspace(500, 1000, 100), 6)
    yield "224 bands, 400-2500 nm", gaussian_camera(np.linspace(400, 2500, 224), 10)


def rates(draw: Draw, batches: int, crops: int) -> np.ndarray:
    """Measure crops per second by wall clock and processor time, (batches, 2)."""
    draw(np.random.default_rng(0))  # loads the tables
    measured = []
    for batch in range(batches):
        wall, processor = time.perf_counter(), time.process_time()
        for crop in range(crops):
            draw(np.random.default_rng((batch, crop)))
        elapsed = time.perf_counter() - wall, time.process_time() - processor
        measured.append([crops / seconds for seconds in elapsed])
    return np.array(measured)


def row(name: str, kind: str, measured: np.ndarray) -> str:
    """Format one line of the table."""
    low, middle, high = np.percentile(measured, (25, 50, 75), axis=0)
    cells = (f"{middle[i]:5.0f} ({low[i]:.0f}-{high[i]:.0f})".ljust(18) for i in range(2))
    return f"{name:<24}  {kind:<8}  {'  '.join(cells)}".rstrip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64, help="side of a crop, pixels")
    parser.add_argument("--batches", type=int, default=11)
    parser.add_argument("--crops", type=int, default=20, help="crops per batch")
    options = parser.parse_args()
    shape = (options.side, options.side)
    print(f"{machine_line()} · scipy {version('scipy')}")
    print(
        f"One core, crops of {shape[0]} × {shape[1]} pixels; crops per second: median (quartiles)"
    )
    print(f"{'camera':<24}  {'scene':<8}  {'wall':<18}  processor")

    def measure(draw: Draw) -> np.ndarray:
        return rates(draw, options.batches, options.crops)

    for name, camera in cameras():
        for kind in KINDS:
            print(row(name, kind, measure(lambda g: simulate_scene(g, shape, camera, kind))))  # noqa: B023
    print(row("random", "random", measure(lambda g: simulate_scene(g, shape, random_camera(g)))))


if __name__ == "__main__":
    main()
