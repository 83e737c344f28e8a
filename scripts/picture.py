"""`make pictures`: the pictures of the documentation, taken from the real window.

The script repeats the steps of the tutorial on the sample cube in a virtual display.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import robot
from demo import ROOT, open_sample, paint_classes, wait, wait_for_features, wait_for_map
from PIL import Image

import carl
from carl.files import resource_path

if TYPE_CHECKING:
    from napari import Viewer

    from napari_carl.dock import CarlDock

PICTURES = ROOT / "docs" / "pictures"
WINDOW = (1440, 900)
N_COLOURS = 256
"""Colours of the palette of a picture: keeps the files under 300 kB without visible differences."""
N_OTHER_BANDS = 16
"""Bands of the simulated camera on whose cube the model is reused."""
TISSUE = (330, 600)
"""Row and column of a pixel of urothelium, where the mouse points."""


def main() -> None:
    """Take one picture of each step, and the picture of the README."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with robot.virtual_display(1920, 1080), tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the pictures show relative paths, the same on every machine
        viewer, dock = open_sample(WINDOW)
        try:
            take_pictures(viewer, dock)
        finally:
            viewer.close()


def take_pictures(viewer: Viewer, dock: CarlDock) -> None:
    """Repeat the steps of the tutorial."""
    from napari_carl.panels.export import ExportPanel

    session = dock.session
    truth = carl.read_labels(resource_path("sample", "bladder_labels.png"))
    user = robot.UserInput(viewer, dock.window())
    wait_for_features(dock)
    user.point_at(*TISSUE)
    save(viewer, "1-cube")

    robot.click(dock, "PCA")
    robot.wait_until(lambda: "bladder embedding" in viewer.layers, 60, "showing the embedding")
    user.point_at(*TISSUE)
    save(viewer, "2-explore")

    robot.click(dock, "Colour")
    session.automatic = False  # the picture shows the strokes before the map
    paint_classes(viewer, dock, truth)
    save(viewer, "3-strokes")

    session.set_automatic(True)
    wait_for_map(dock)
    user.point_at(*TISSUE)
    save(viewer, "4-map", "window")

    panel = dock.findChild(ExportPanel)
    panel.folder.line_edit.value = "results"
    robot.scroll_to_end(dock)
    robot.click(dock, "Export")
    wait(dock, lambda: bool(session.exported_files), 60, "exporting")
    robot.process_events(1)
    robot.scroll_to_end(dock)
    save(viewer, "5-export")

    model = Path("bladder.carl")
    session.save_predictor(model)
    wait(dock, model.is_file, 60, "saving the model")
    session.open_cube(write_other_cube())
    wait(dock, lambda: session.cube.n_bands == N_OTHER_BANDS, 60, "opening the other cube")
    wait_for_features(dock)
    session.load_predictor(model)
    wait_for_map(dock)
    viewer.reset_view()
    user.point_at(*TISSUE)
    robot.scroll_to_end(dock)
    save(viewer, "6-reuse")
    take_wavelengths(viewer, dock)


def take_wavelengths(viewer: Viewer, dock: CarlDock) -> None:
    """Take the picture of a cube whose wavelengths are wrong."""
    from napari_carl.panels.wavelengths import WavelengthForm

    session = dock.session
    session.open_cube(write_shifted_cube())
    wait(dock, lambda: session.cube.name == "shifted", 60, "opening the shifted cube")
    wait_for_features(dock)
    robot.click(dock, "Change …")
    robot.process_events(0.5)
    form = dock.findChild(WavelengthForm)
    form.source.value = "Bands"
    robot.click(dock, "Check wavelengths")
    wait(dock, lambda: bool(session.findings), 120, "examining the wavelengths")
    viewer.reset_view()
    save(viewer, "7-wavelengths")


def write_shifted_cube() -> Path:
    """Write simulated tissue as a Tivita camera records it, with wavelengths that are 15 nm off."""
    from carl.io import write_cube
    from carl.simulation import known_camera, simulate_scene

    scene = simulate_scene(np.random.default_rng(3), (64, 80), known_camera("tivita"), "organ")
    nm = scene.cube.require_wavelengths()
    write_cube(Path("shifted.hdr"), scene.cube.with_wavelengths(nm + 15, scene.cube.fwhm))
    return Path("shifted.hdr").resolve()


def write_other_cube() -> Path:
    """Write the sample, mirrored, as a camera with 16 broad bands would record it."""
    from carl.io import write_cube
    from carl.simulation import simulate
    from carl.simulation.camera import gaussian_camera

    cube = carl.read_cube(resource_path("sample", "bladder.tif"))
    camera = gaussian_camera(np.linspace(440, 710, N_OTHER_BANDS), np.full(N_OTHER_BANDS, 25.0))
    other = simulate(cube, camera)
    mirrored = replace(other, data=other.to_numpy()[:, ::-1])
    write_cube(Path("other_camera.hdr"), mirrored)
    return Path("other_camera.hdr").resolve()


def save(viewer: Viewer, *names: str) -> None:
    """Save a picture of the window, once all of it is drawn, under each of the names."""
    robot.process_events(1.5)
    pixels = viewer.screenshot(canvas_only=False)
    picture = Image.fromarray(np.asarray(pixels)[..., :3])
    picture = picture.quantize(N_COLOURS, method=Image.Quantize.FASTOCTREE)
    for name in names:
        path = PICTURES / f"{name}.png"
        picture.save(path, optimize=True)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
