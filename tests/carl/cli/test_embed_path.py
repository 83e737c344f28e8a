"""The way of ``carl embed`` through the code, followed by a tracer (docs/architecture.md)."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType

import numpy as np

from carl.cli.app import run
from carl.cube import SpectralCube
from carl.io import write_cube
from carl.model import CARL, save_model

STOPS = (
    ("carl.cli.cubes", "embed"),
    ("carl.io.formats", "read_cube"),
    ("carl.model.loading", "load_model"),
    ("carl.inference.embedding", "embed_to_file"),
    ("carl.inference.cache_keys", "cube_key"),
    ("carl.inference.tile_store", "TileFolder.__enter__"),
    ("carl.inference.feature_maps", "FeatureMaps.compute"),
    ("carl.inference.patches", "normalisation"),
    ("carl.inference.planning", "make_plan"),
    ("carl.inference.patches", "PatchReader.strip"),
    ("carl.inference.engine", "Engine.encode_spectral"),
    ("carl.inference.engine", "Engine.encode_spatial"),
    ("carl.inference.npz", "write_npz"),
)
"""Functions in the order in which control first enters them."""
MODULES = {
    "backend", "cache_keys", "embedding", "engine", "fast.attention", "fast.backend", "fast.linear",
    "fast.spectral", "feature_maps", "npz", "options", "patches", "pca", "plan", "planning",
    "tile_grid", "tile_store", "turbo", "workers",
}  # fmt: skip
"""Modules of `carl.inference` that take part."""


def test_the_way_of_an_embedding(tiny_model: CARL, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CARL_HOME", str(tmp_path / "home"))
    pixels = np.random.default_rng(0).uniform(0.1, 1, (48, 64, 6)).astype(np.float32)
    write_cube(tmp_path / "cube.hdr", SpectralCube(pixels, np.linspace(450, 700, 6)))
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    entered: list[tuple[str, str]] = []

    def on_event(frame: FrameType, event: str, _: object) -> None:
        module = str(frame.f_globals.get("__name__", ""))
        is_import = frame.f_code.co_name == "<module>"
        if event == "call" and module.startswith("carl.") and not is_import:
            entered.append((module, frame.f_code.co_qualname))

    arguments = ["embed", str(tmp_path / "cube.hdr"), "-o", str(tmp_path / "features.npz")]
    arguments += ["--model", str(tmp_path / "tiny.safetensors"), "--device", "cpu"]
    threading.setprofile(on_event)
    sys.setprofile(on_event)
    try:
        status = run(arguments)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]  # typeshed asks for a function

    assert status == 0
    assert tuple(each for each in dict.fromkeys(entered) if each in STOPS) == STOPS
    assert len(STOPS) <= 14
    prefix = "carl.inference."
    modules = {name.removeprefix(prefix) for name, _ in entered if name.startswith(prefix)}
    assert modules <= MODULES
