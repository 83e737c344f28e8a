"""Waiting times in the dock: opening, spectra, segmentation, and the longest stalls of the window.

Each run is a process in a virtual display. The CARL dock opens a cube from a file, and strokes are
drawn with the mouse, the first of them as soon as the cube is displayed. Times are measured from
the end of the last stroke, including the pause after which the dock starts to segment. "Heartbeat"
is the longest interval of a 10 ms timer in the window; beside it stands the longest sleep of 10 ms
in another process, which shows the share of the machine in it.

    python benchmarks/interaction.py                    # the sample, and 2000² pixels × 150 bands
    python benchmarks/interaction.py --cube scan.hdr    # another cube
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

_TIMEOUT = 600.0
"""Seconds until a wait fails."""
_TUNED_PIXELS = 1 << 20
"""Largest cube that is fine-tuned here, in pixels: the features of larger ones take minutes."""


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
class Heartbeat:
    """A timer of 10 ms in the window, and its longest intervals."""

    beats: list[float] = field(default_factory=list)
    gaps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Record the longest intervals, in ms, of the timer and of a sleeper inside the block."""
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
    """Run a process that sleeps 10 ms at a time; the list then holds its longest sleep, in s."""
    longest: list[float] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, "-c", _SLEEPER], stdout=output)
        try:
            yield longest
        finally:
            process.terminate()
            process.wait()
            output.seek(0)
            longest.append(float((output.read().split() or ["0"])[-1]))


_NETWORK_STATES = ("network in turbo", "exact network")


class NetworkTimes:
    """Times of the first segmentation with the approximate and with the exact embedding."""

    def __init__(self, session) -> None:
        self._session = session
        self._times: dict[str, float] = {}
        session.segmentation_changed.connect(self._on_segmentation)

    def _on_segmentation(self) -> None:
        result = self._session.segmentation
        if result.predictor.uses_network:
            self._times.setdefault(_NETWORK_STATES[result.fidelity is None], perf_counter())

    def wait(self) -> dict[str, float]:
        """Wait for both and return them; without an approximate embedding they are equal."""
        robot.wait_until(lambda: "exact network" in self._times, _TIMEOUT, "the exact network")
        self._session.segmentation_changed.disconnect(self._on_segmentation)
        times = self._times
        return {name: times.get(name, times["exact network"]) for name in _NETWORK_STATES}


def run_once(path: Path) -> dict[str, float]:
    """Run once and return the waiting times in ms by name."""
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

    session, heartbeat, taken = dock.session, Heartbeat(), {}
    user = robot.UserInput(viewer, dock.window())

    def wait(condition: Callable[[], bool], what: str) -> float:
        start = perf_counter()
        robot.wait_until(condition, _TIMEOUT, what)
        return 1000 * (perf_counter() - start)

    def first_labels_of_strokes() -> float:
        drawn = viewer.layers[f"{session.cube.name} strokes"].data
        start, before = perf_counter(), session.segmentation
        wait(lambda: np.array_equal(session.strokes, drawn), "reporting the strokes")
        wait(lambda: session.segmentation is not before, "a segmentation")
        return 1000 * (perf_counter() - start)

    def is_segmented() -> bool:
        result, state = session.segmentation, session.jobs.state(JobKind.SEGMENTING)
        return result is not None and not result.is_preview and state is None

    with heartbeat.during("start"):  # libraries are imported while the user chooses a file
        wait(lambda: session.jobs.state(JobKind.PRELOADING) is None, "loading libraries")
        robot.process_events(1)

    with heartbeat.during("open"):
        start = perf_counter()
        session.open_cube(path)
        wait(lambda: session.cube is not None, "opening")
        robot.process_events(0)
        taken["open"] = 1000 * (perf_counter() - start)

    viewer.reset_view()
    height, width = session.cube.shape[:2]
    with heartbeat.during("first map"):
        for value, row in ((1, 0.3), (2, 0.6)):
            user.press(str(value))
            user.paint((row * height, 0.4 * width), (row * height, 0.45 * width))
        drawn_at, networks = perf_counter(), NetworkTimes(session)
        taken["stroke to coarse map"] = first_labels_of_strokes()
        taken["stroke to full map, first"] = taken["stroke to coarse map"] + wait(
            is_segmented, "the full label map"
        )

    seen: list[float] = []
    session.cursor_changed.connect(lambda _: seen.append(perf_counter()))
    waited = []
    for column in np.linspace(0.2, 0.8, 20):
        n, start = len(seen), perf_counter()
        user.point_at(0.5 * height, column * width)
        wait(lambda n=n: len(seen) > n, "a spectrum")
        waited.append(1000 * (seen[-1] - start))
    taken["cursor to spectrum"] = median(waited)

    with heartbeat.during("segment"):
        user.paint((0.65 * height, 0.4 * width), (0.65 * height, 0.45 * width))
        taken["next stroke to visible map"] = first_labels_of_strokes()
        taken["next stroke to full map"] = taken["next stroke to visible map"] + wait(
            is_segmented, "the next full label map"
        )

    for name, time in networks.wait().items():
        taken[f"stroke to map with {name}"] = 1000 * (time - drawn_at)

    if height * width <= _TUNED_PIXELS:
        wait(is_segmented, "the segmentation with the network")
        with heartbeat.during("fine-tune"):
            session.fine_tune("last_blocks")
            wait(lambda: len(session.fine_tuning.steps) > 10, "fine-tuning")
        session.jobs.cancel(JobKind.FINE_TUNING)
    return taken | {f"heartbeat, {name}": gap for name, gap in heartbeat.gaps.items()}


def write_large_cube(folder: Path, side: int, bands: int) -> Path:
    """Write an ENVI file of the sample, repeated side by side, with a number of bands."""
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
    """Yield one line per waiting time: median, shortest and longest."""
    for name in runs[0]:
        values = [run[name] for run in runs]
        yield f"  {name:<30} {median(values):8.0f} ms  ({min(values):.0f}-{max(values):.0f})"


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cube", type=Path, action="append", help="instead of sample and large")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", type=int, default=2000, help="side of the large cube, in pixels")
    parser.add_argument("--bands", type=int, default=150, help="bands of the large cube")
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
            print(f"{cube.stem}, {len(runs)} runs: median (shortest-longest)")
            print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
