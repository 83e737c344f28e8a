"""A window from which painted layers were removed is still drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

PAINT_AND_REMOVE = """
import robot
with robot.virtual_display(1920, 1080):
    import napari
    import numpy as np
    viewer = napari.Viewer()
    viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    user = robot.UserInput(viewer, viewer.window._qt_window)
    for _ in range(2):
        viewer.add_image(np.zeros((8, 48, 64)))
        viewer.add_labels(np.zeros((48, 64), int)).mode = "paint"
        viewer.screenshot(canvas_only=False, flash=False)
        user.paint((10, 10), (10, 14))
        viewer.screenshot(canvas_only=False, flash=False)
        viewer.layers.remove(viewer.layers[0])
        viewer.screenshot(canvas_only=False, flash=False)
        viewer.layers.clear()
        viewer.screenshot(canvas_only=False, flash=False)
    print("drawn")
    viewer.close()
"""


def test_the_window_is_drawn_after_a_painted_layer_was_removed() -> None:
    """In a process of its own: without the dock, drawing ends it by a signal."""
    found = subprocess.run(
        [sys.executable, "-c", PAINT_AND_REMOVE],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SCRIPTS), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "drawn\n"), found.stderr
