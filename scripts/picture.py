"""`make pictures`: the picture of the README, taken from the real window in a virtual display."""

from __future__ import annotations

import numpy as np
import robot
from demo import ROOT, open_sample, paint_classes, wait_for_features, wait_for_map
from PIL import Image, ImageOps

import carl
from carl.files import resource_path

PICTURE = ROOT / "docs" / "pictures" / "window.png"
WINDOW = (1440, 900)
N_BITS = 6  # per channel: keeps the file under 500 kB, and no difference is seen


def main() -> None:
    """Do the work of the demo and keep one picture of it."""
    truth = carl.read_labels(resource_path("sample", "bladder_labels.png"))
    with robot.virtual_display(1920, 1080):
        viewer, dock = open_sample(WINDOW)
        try:
            wait_for_features(dock)
            robot.rest(1)
            paint_classes(viewer, dock, truth)
            wait_for_map(dock)
            robot.Hand(viewer, dock.window()).point_at(330, 600)
            robot.rest(1)
            pixels = viewer.screenshot(canvas_only=False)
        finally:
            viewer.close()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(pixels)[..., :3])
    ImageOps.posterize(picture, N_BITS).save(PICTURE, optimize=True)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
