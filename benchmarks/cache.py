"""How long a cube takes to be ready the first time, and the next time it is opened.

Every row opens the cube and asks for its features with a cache that is new in memory; "first" finds
an empty folder, "next" what the first time left there. "Share" is what reading and hashing all
pixels, by which features are found, takes of the first time. Medians, with the range behind them.

    python benchmarks/cache.py [CUBE [--wavelengths 380:770:10]]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine_line

import carl
from carl.files import resource_path
from carl.inference import FeatureCache
from carl.inference.content import content_key
from carl.inference.feature_folder import FeatureFolder
from carl.model import CARL
from carl.user_folders import features_folder


def ready(path: Path, wavelengths: str | None, model: CARL, speed: str) -> None:
    """All that has to be done before features can be used."""
    cube = carl.read_cube(path, wavelengths=wavelengths)
    FeatureCache(folder=FeatureFolder()).embed(cube, model, speed=speed)


def seconds(work: Callable[[], object], before: Callable[[], object], repeats: int) -> np.ndarray:
    """Wall-clock time of some work, (repeats,)."""
    measured = []
    for _ in range(repeats):
        before()
        start = time.perf_counter()
        work()
        measured.append(time.perf_counter() - start)
    return np.array(measured)


def cell(measured: np.ndarray) -> str:
    """Median and range."""
    return f"{np.median(measured):7.3f} ({measured.min():.3f}-{measured.max():.3f})".ljust(24)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "cube", nargs="?", type=Path, default=resource_path("sample", "bladder.tif")
    )
    parser.add_argument("--wavelengths")
    parser.add_argument("--repeats", type=int, default=3)
    wanted = parser.parse_args()
    path, wavelengths, repeats = wanted.cube, wanted.wavelengths, wanted.repeats
    model = carl.load_model(device="cpu")
    cube = carl.read_cube(path, wavelengths=wavelengths)
    print(f"{machine_line()}\n{cube!r}, {model.name}\n")
    print(f"{'speed':<8}{'first, s':<24}{'next, s':<24}{'share':>7}{'MB kept':>9}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["CARL_HOME"] = home
        hashing = np.median(seconds(lambda: content_key(cube), lambda: None, repeats))
        for speed in ("exact", "turbo"):

            def work(speed: str = speed) -> None:
                ready(path, wavelengths, model, speed)

            first = seconds(work, features_folder().clear, repeats)
            following = seconds(work, lambda: None, repeats)
            share, kept = hashing / np.median(first), features_folder().nbytes / 1e6
            print(f"{speed:<8}{cell(first)}{cell(following)}{share:7.2%}{kept:9.1f}")


if __name__ == "__main__":
    main()
