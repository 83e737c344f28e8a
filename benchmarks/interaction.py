"""What somebody at the window waits for: opening, spectra, the first map, and hiccups meanwhile.

Each run is a program of its own in a virtual display: the CARL dock opens a cube from a file and
looks at it, and strokes are painted with the mouse, the first of them as soon as the cube is seen.
Times are counted from the end of the last stroke, the pause of the dock included. Heartbeat is the
longest time that a timer of 10 ms in the window had to wait for its turn; beside it, the same of a
program that only sleeps, which tells what the machine adds.

    python benchmarks/interaction.py                    # the sample, and 2000² pixels × 150 bands
    python benchmarks/interaction.py --cube scan.hdr    # a cube of one's own
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from machine import machine_line

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
import robot

from carl.files import resource_path

_LONG = 600.0
_TUNED_PIXELS = 1 << 20
"""Larger cubes are not fine-tuned here: their features take minutes."""


_SLEEPER = """
import time
before, longest = time.perf_counter(), 0.0
while True:
    time.sleep(0.01)
    now = time.perf_counter()
    before, longest = now, max(longest, now - before)
    print(longest, flush=True)
"""


@dataclass
class Heart:
    """A timer of 10 ms in the window, and how long it had to wait for its turn."""

    beats: list[float] = field(default_factory=list)
    gaps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Note the longest gaps, in ms, of the window and of a sleeper until the block ends."""
        with sleeper() as longest_sleep, self._beating(what):
            yield
        beside = f"{what} (sleeper)"
        self.gaps[beside] = max(self.gaps.get(beside, 0.0), 1000 * longest_sleep[0])

    @contextmanager
    def _beating(self, what: str) -> Iterator[None]:
        from qtpy.QtCore import QTimer

        timer = QTimer()
        beats = [perf_counter()]
        timer.timeout.connect(lambda: beats.append(perf_counter()))
        timer.start(10)
        try:
            yield
        finally:
            timer.stop()
            beats.append(perf_counter())
            self.gaps[what] = max(self.gaps.get(what, 0.0), 1000 * float(np.diff(beats).max()))


@contextmanager
def sleeper() -> Iterator[list[float]]:
    """A program that sleeps 10 ms at a time; at the end the list holds its longest, in s."""
    longest: list[float] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        process = subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=told)
        try:
            yield longest
        finally:
            process.terminate()
            process.wait()
            told.seek(0)
            longest.append(float((told.read().split() or ["0"])[-1]))


_NETWORKS = ("network in turbo", "exact network")


class Networks:
    """When the first map came whose network was turbo's, and when one whose network was exact."""

    def __init__(self, session) -> None:
        self._session = session
        self._came: dict[str, float] = {}
        session.segmentation_changed.connect(self._on_map)

    def _on_map(self) -> None:
        learned = self._session.segmentation
        if learned.has_network:
            self._came.setdefault(_NETWORKS[learned.fidelity is None], perf_counter())

    def wait(self) -> dict[str, float]:
        """Both times; the second follows the first."""
        robot.wait_until(lambda: "exact network" in self._came, _LONG, "the exact network")
        self._session.segmentation_changed.disconnect(self._on_map)
        came = self._came
        return {name: came.get(name, came["exact network"]) for name in _NETWORKS}


def run_once(path: Path) -> dict[str, float]:
    """One run, in ms by the name of what was waited for."""
    with robot.virtual_display(1920, 1080):
        import napari

        viewer = napari.Viewer()
        viewer.window.resize(1280, 800)
        _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
        try:
            return _measure(viewer, dock, path)
        finally:
            viewer.close()


def _measure(viewer, dock, path: Path) -> dict[str, float]:
    from napari_carl.jobs import JobKind

    session, heart, taken = dock.session, Heart(), {}
    hand = robot.Hand(viewer, dock.window())

    def wait(condition: Callable[[], bool], what: str) -> float:
        start = perf_counter()
        robot.wait_until(condition, _LONG, what)
        return 1000 * (perf_counter() - start)

    def first_map_of_strokes() -> float:
        painted = viewer.layers[f"{session.cube.name} strokes"].data
        start, before = perf_counter(), session.segmentation
        wait(lambda: np.array_equal(session.strokes, painted), "noticing the strokes")
        wait(lambda: session.segmentation is not before, "a map")
        return 1000 * (perf_counter() - start)

    def has_whole_map() -> bool:
        learned, state = session.segmentation, session.jobs.state(JobKind.SEGMENTING)
        return learned is not None and not learned.is_preview and state is None

    with heart.during("start"):  # libraries are loaded while somebody looks for a file
        wait(lambda: session.jobs.state(JobKind.PRELOADING) is None, "loading libraries")
        robot.rest(1)

    with heart.during("open"):
        start = perf_counter()
        session.open_cube(path)
        wait(lambda: session.cube is not None, "opening")
        robot.rest(0)
        taken["open"] = 1000 * (perf_counter() - start)

    viewer.reset_view()
    height, width = session.cube.shape[:2]
    with heart.during("first map"):
        for value, row in ((1, 0.3), (2, 0.6)):
            hand.press(str(value))
            hand.paint((row * height, 0.4 * width), (row * height, 0.45 * width))
        painted, networks = perf_counter(), Networks(session)
        taken["stroke to coarse map"] = first_map_of_strokes()
        taken["stroke to full map, first"] = taken["stroke to coarse map"] + wait(
            has_whole_map, "the whole map"
        )

    seen: list[float] = []
    session.cursor_changed.connect(lambda _: seen.append(perf_counter()))
    waited = []
    for column in np.linspace(0.2, 0.8, 20):
        n, start = len(seen), perf_counter()
        hand.point_at(0.5 * height, column * width)
        wait(lambda n=n: len(seen) > n, "a spectrum")
        waited.append(1000 * (seen[-1] - start))
    taken["cursor to spectrum"] = median(waited)

    with heart.during("learn"):
        hand.paint((0.65 * height, 0.4 * width), (0.65 * height, 0.45 * width))
        taken["next stroke to map in sight"] = first_map_of_strokes()
        taken["next stroke to full map"] = taken["next stroke to map in sight"] + wait(
            has_whole_map, "the whole next map"
        )

    for name, when in networks.wait().items():
        taken[f"stroke to map with {name}"] = 1000 * (when - painted)

    if height * width <= _TUNED_PIXELS:
        wait(has_whole_map, "the map with the network")
        with heart.during("fine-tune"):
            session.fine_tune("head")
            wait(lambda: len(session.fine_tuning.steps) > 10, "fine-tuning")
        session.jobs.cancel(JobKind.FINE_TUNING)
    return taken | {f"heartbeat, {name}": gap for name, gap in heart.gaps.items()}


def write_large_cube(folder: Path, side: int, bands: int) -> Path:
    """An ENVI file of the sample's tissue, laid side by side, in as many bands as wanted."""
    from carl.cube import SpectralCube
    from carl.io import read_cube, write_cube

    sample = read_cube(resource_path("sample", "bladder.tif"))
    nm = np.linspace(sample.wavelengths[0], sample.wavelengths[-1], bands)
    chosen = np.abs(sample.wavelengths[:, None] - nm).argmin(axis=0)
    pixels = np.rint(10_000 * sample.to_numpy()[..., chosen]).astype(np.uint16)
    copies = [-(-side // n) for n in pixels.shape[:2]]
    tiled = np.tile(pixels, (*copies, 1))[:side, :side]
    path = folder / f"large {side} x {side} x {bands}.hdr"
    write_cube(path, SpectralCube(tiled, nm))
    return path


def table(runs: list[dict[str, float]]) -> Iterator[str]:
    """Lines of what was waited for: median, and from the shortest to the longest."""
    for name in runs[0]:
        values = [run[name] for run in runs]
        yield f"  {name:<30} {median(values):8.0f} ms  ({min(values):.0f}-{max(values):.0f})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cube", type=Path, action="append", help="instead of sample and large")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", type=int, default=2000, help="of the large cube, in pixels")
    parser.add_argument("--bands", type=int, default=150, help="of the large cube")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(run_once(options.once)))
        return
    print(machine_line())
    without_cache = os.environ | {"CARL_CACHE": "0"}
    with tempfile.TemporaryDirectory() as folder:
        cubes = options.cube or [
            resource_path("sample", "bladder.tif"),
            write_large_cube(Path(folder), options.side, options.bands),
        ]
        for cube in cubes:
            runs = []
            for _ in range(options.runs):
                command = [sys.executable, __file__, "--once", str(cube)]
                finished = subprocess.run(
                    command, stdout=subprocess.PIPE, text=True, check=True, env=without_cache
                )
                runs.append(json.loads(finished.stdout.splitlines()[-1]))
            print(f"{cube.stem}, {len(runs)} runs: median (least-most)")
            print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
