"""`make demo`: napari with the sample cube and the CARL dock.

With a display, the window opens. Without one, the script does the same work in a virtual display:
it paints strokes with the mouse, waits for the map and exports it, and leaves pictures of the
window beside the exported files in ``demo_output/``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import robot

import carl
from carl.files import resource_path

if TYPE_CHECKING:
    from napari import Viewer

    from carl.io import LabelMap
    from napari_carl.dock import CarlDock

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "demo_output"
WINDOW = (1280, 800)
STROKES: dict[str, tuple[int, list[robot.Stroke]]] = {
    # class: width of the brush in pixels, strokes as (row, column) corners
    "lumen": (8, [[(480, 640), (488, 600), (494, 570)], [(640, 800), (660, 830)]]),
    "urothelium": (8, [[(50, 590), (60, 630), (85, 690)], [(130, 352), (180, 362), (230, 366)]]),
    "stroma": (8, [[(430, 310), (445, 330), (470, 350)], [(50, 285), (80, 280), (110, 285)]]),
    "blood": (4, [[(212, 52), (222, 47), (234, 46)], [(590, 30), (580, 35), (573, 46)]]),
}
"""Strokes on the sample: two for each class, inside the labelled regions."""


def main() -> None:
    """Open the window if there is a display; otherwise do the work in a virtual one."""
    if robot.has_display():
        import napari

        open_sample()
        napari.run()
        return
    print("There is no display: the demo runs in a virtual one.")
    with robot.virtual_display(1920, 1080):
        run_demo()


def open_sample(size: tuple[int, int] = WINDOW) -> tuple[Viewer, CarlDock]:
    """Return a viewer with the whole sample cube in view, and the dock."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(title="napari-carl")
    viewer.window.resize(*size)
    viewer.open_sample("napari-carl", "bladder")
    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    QApplication.processEvents()  # lays out the dock, which changes the size of the canvas
    viewer.reset_view()
    return viewer, dock


def run_demo() -> None:
    """Segment the sample from strokes and export the map, with pictures of each step."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    truth = carl.read_labels(resource_path("sample", "bladder_labels.png"))
    viewer, dock = open_sample()
    try:
        wait_for_features(dock)
        height, width, bands = dock.session.cube.shape
        print(f"opened    {height} × {width} pixels, {bands} bands")
        robot.process_events(1)
        viewer.screenshot(OUTPUT / "window_1_opened.png", canvas_only=False)

        paint_classes(viewer, dock, truth)
        wait_for_map(dock)
        painted = ", ".join(f"{c.name} {dock.session.counts[c.value]} px" for c in truth.classes)
        print(f"painted   {painted}")
        print(f"segmented in {dock.session.segmentation.seconds:.1f} s")
        robot.process_events(1)
        viewer.screenshot(OUTPUT / "window_2_map.png", canvas_only=False)
        print_scores(dock, truth)

        dock.session.export(OUTPUT)
        wait(dock, lambda: bool(dock.session.exported_files), 60, "exporting")
        print(f"exported  {len(dock.session.exported_files)} files")
        robot.scroll_to_end(dock)
        robot.process_events(1)
        viewer.screenshot(OUTPUT / "window_3_exported.png", canvas_only=False)
    finally:
        viewer.close()
    print(f"\nPictures of the window and the exported files are in {OUTPUT}:")
    for path in sorted(OUTPUT.iterdir()):
        print(f"  {path.name}")


def wait_for_features(dock: CarlDock) -> None:
    """Wait for the colour picture and for the exact features of the network."""
    session = dock.session
    wait(dock, lambda: session.picture is not None, 60, "showing the cube")

    def has_exact_features() -> bool:
        embedded = session.embedding
        return embedded is not None and embedded.embedding.speed == "exact"

    wait(dock, has_exact_features, 300, "embedding the cube")


def wait_for_map(dock: CarlDock) -> None:
    """Wait for the complete map of the strokes as they are now."""
    from napari_carl.jobs import JobKind

    robot.process_events(1)  # longer than the pause before the dock segments automatically
    session = dock.session

    def is_done() -> bool:
        return session.segmentation is not None and session.jobs.state(JobKind.SEGMENTING) is None

    wait(dock, is_done, 120, "segmenting")


def wait(dock: CarlDock, condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until a condition holds or a job of the dock fails.

    Raises:
        TimeoutError: the condition did not hold in time.
        Exception: the error of the job.
    """
    failures: list[BaseException] = []

    def note(error: BaseException) -> None:
        failures.append(error)

    dock.session.failed.connect(note)
    try:
        robot.wait_until(lambda: bool(failures) or condition(), seconds, what)
    finally:
        dock.session.failed.disconnect(note)
    if failures:
        raise failures[0]


def paint_classes(viewer: Viewer, dock: CarlDock, truth: LabelMap) -> None:
    """Name the classes as in the truth and paint the strokes of each."""
    user = robot.UserInput(viewer, dock.window())
    dock.session.classes.replace(truth.classes)
    for known in truth.classes:
        brush, strokes = STROKES[known.name]
        user.press(str(known.value))
        viewer.layers.selection.active.brush_size = brush
        for stroke in strokes:
            user.paint(*stroke)


def print_scores(dock: CarlDock, truth: LabelMap) -> None:
    """Print the agreement of the map with the labelled pixels outside the strokes."""
    from carl.metrics import evaluate

    others = np.where(dock.session.strokes == 0, truth.labels, 0)
    scores = evaluate(dock.session.segmentation.labels, others)
    per_class = ", ".join(f"{c.name} {scores.iou[c.value]:.3f}" for c in truth.classes)
    print(f"scored    mIoU {scores.miou:.3f} on {scores.n_pixels:,} other pixels ({per_class})")


if __name__ == "__main__":
    main()
