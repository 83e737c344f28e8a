"""A tiny network in a file, a labelled part of the bladder cube, and configurations for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from carl.cube import SpectralCube
from carl.files import resource_path
from carl.io import LabelClass, read_cube, read_labels, write_cube, write_labels
from carl.learning.head_training import TrainConfig
from carl.model import CARLConfig, build_model, save_model

Recipe = Callable[..., TrainConfig]

TISSUES = (LabelClass(1, "lumen", (230, 159, 0)), LabelClass(2, "urothelium", (86, 180, 233)))
_PART = slice(480, 560), slice(570, 690)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, quick_config: CARLConfig) -> Path:
    """``network.safetensors``, ``tissue.hdr`` (80 × 120 pixels) and ``tissue_labels.png``."""
    folder = tmp_path_factory.mktemp("tasks")
    network = build_model(quick_config)
    network.name = "tiny"
    save_model(network, folder / "network.safetensors")
    sample = read_cube(resource_path("sample", "bladder.tif"))
    truth = read_labels(resource_path("sample", "bladder_labels.png")).labels
    rows, columns = _PART
    assert sample.wavelengths is not None
    cube = SpectralCube(sample.read(rows, columns, slice(0, None, 5)), sample.wavelengths[::5])
    write_cube(folder / "tissue.hdr", cube)
    write_labels(folder / "tissue_labels.png", truth[rows, columns], TISSUES)
    return folder


@pytest.fixture(scope="session")
def recipe(folder: Path) -> Recipe:
    """Build configurations; given keys replace the defaults."""

    def make(**keys: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "output": "trained.carl",
            "pairs": [{"cube": "tissue.hdr", "labels": "tissue_labels.png"}],
            "model": "network.safetensors",
            "steps": 40,
            "batch_size": 4,
            "crop": 16,
            "bands": 6,
            "learning_rate": 5e-3,
            "network_rate": 5e-3,
            "check_every": 10,
        }
        return TrainConfig.from_dict(values | keys, folder)

    return make
