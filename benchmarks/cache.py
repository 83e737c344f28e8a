"""Measure how soon the features of a cube are available, the first time and when opened again.

Every row opens the cube and calls `embed_cached`: "first" with an empty cache, "again" with the
features that the first call saved. "hash" is the fraction of the first call that hashing all pixels
takes, by which cached features are found. Medians, with the range in brackets.

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
from carl.inference import ComputeOptions, embed_cached, planning
from carl.inference.cache_keys import content_key
from carl.inference.options import Speed
from carl.model import CARL
from carl.user_folders import features_folder, plans_folder


def open_and_embed(path: Path, wavelengths: str | None, model: CARL, speed: Speed) -> None:
    """Do everything that is needed before features can be used."""
    cube = carl.read_cube(path, wavelengths=wavelengths)
    embed_cached(cube, model, ComputeOptions(speed=speed))


def forget() -> None:
    """Remove cached features and remembered plans."""
    features_folder().clear()
    plans_folder().clear()
    planning._plans.discard(lambda _: True)


def seconds(work: Callable[[], object], before: Callable[[], object], repeats: int) -> np.ndarray:
    """Return the elapsed times (repeats,) of some work, without those of what is done before."""
    measured = []
    for _ in range(repeats):
        before()
        start = time.perf_counter()
        work()
        measured.append(time.perf_counter() - start)
    return np.array(measured)


def cell(measured: np.ndarray) -> str:
    """Return median and range as text."""
    return f"{np.median(measured):7.3f} ({measured.min():.3f}-{measured.max():.3f})".ljust(24)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "cube", nargs="?", type=Path, default=resource_path("sample", "bladder.tif")
    )
    parser.add_argument("--wavelengths")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    path, wavelengths, repeats = args.cube, args.wavelengths, args.repeats
    model = carl.load_model(device="cpu")
    cube = carl.read_cube(path, wavelengths=wavelengths)
    print(f"{machine_line()}\n{cube!r}, {model.name}\n")
    print(f"{'speed':<8}{'first, s':<24}{'again, s':<24}{'hash':>7}{'MB cached':>11}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["CARL_HOME"] = home
        hashing = np.median(seconds(lambda: content_key(cube), lambda: None, repeats))
        speeds: tuple[Speed, ...] = ("exact", "turbo")
        for speed in speeds:

            def work(speed: Speed = speed) -> None:
                open_and_embed(path, wavelengths, model, speed)

            first = seconds(work, forget, repeats)
            again = seconds(work, lambda: None, repeats)
            fraction, cached = hashing / np.median(first), features_folder().nbytes / 1e6
            print(f"{speed:<8}{cell(first)}{cell(again)}{fraction:7.2%}{cached:11.1f}")


if __name__ == "__main__":
    main()
