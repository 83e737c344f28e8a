"""Small cubes of two cameras, and a configuration that trains a tiny network within seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.io import write_cube
from carl.pretraining.pretrain_config import PretrainConfig

NETWORK = {
    "patch_size": 4,
    "spec_encoder_kwargs": {
        "embed_dim": 16, "n_queries": 2, "depth": 2, "num_heads": 2, "layer_scale": None,
    },
    "spat_encoder_kwargs": {
        "model_name": "vit_tiny_patch16_224",
        "depth": 2,
        "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 2},
    },
}  # fmt: skip

Recipe = Callable[..., PretrainConfig]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Use one thread: forked processes have none of the threads of their parent."""
    torch.set_num_threads(1)


def texture(shape: tuple[int, int], n_bands: int, seed: int) -> np.ndarray:
    """Simulate two materials with smooth spectra in smooth patches."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape) / 8
    abundance = 0.5 + 0.5 * np.sin(rows + rng.uniform(0, 6)) * np.cos(columns + rng.uniform(0, 6))
    nm = np.linspace(0, 1, n_bands)
    image = abundance[..., None] * np.sin(4 * nm) + (1 - abundance[..., None]) * nm**2
    return (image + rng.normal(0, 0.05, image.shape)).astype(np.float32)


@pytest.fixture
def cubes(tmp_path: Path) -> Path:
    """A folder with three cubes of 24 bands and a subfolder with two of 6."""
    folder = tmp_path / "cubes"
    for number in range(3):
        cube = SpectralCube(texture((40, 32), 24, number), np.linspace(450, 900, 24))
        write_cube(folder / f"many{number}.hdr", cube)
    for number in range(2):
        cube = SpectralCube(texture((12, 48), 6, number), np.linspace(480, 850, 6))
        write_cube(folder / "deeper" / f"few{number}.hdr", cube)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, cubes: Path) -> Recipe:
    """Build a configuration; given keys replace the defaults."""

    def make(**keys: Any) -> PretrainConfig:
        values = {
            "data": [{"kind": "folder", "path": str(cubes), "bands": [4, 12]}],
            "output": "run",
            "name": "tiny",
            "model": NETWORK,
            "steps": 6,
            "crop": 16,
            "batch_size": 4,
            "checkpoint_every": 2,
            "log_every": 1,
            "workers": 0,
            "accelerator": "cpu",
            "optimiser": {"learning_rate": 1e-3},
        }
        return PretrainConfig.from_dict(values | keys, tmp_path)

    return make
