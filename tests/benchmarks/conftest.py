"""Fixtures of the benchmark tests, which import the scripts of the folder `benchmarks`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.model import CARL, CARLConfig

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture
def labels() -> np.ndarray:
    """Three classes in vertical stripes, two regions each, separated by unlabelled columns."""
    stripes = np.repeat(np.array([1, 2, 3, 1, 2, 3], np.uint8), 8)
    grid = np.tile(stripes, (40, 1))
    grid[:, ::8] = 0
    return grid


@pytest.fixture
def cube(labels: np.ndarray) -> SpectralCube:
    """Cube of linear spectra with slight noise, whose slope depends on the class."""
    nm = np.arange(400.0, 701.0, 10.0)
    slopes = np.array([0.0, -0.4, 0.0, 0.4])[labels]
    pixels = 0.5 + slopes[..., None] * (nm - 550) / 300
    pixels += np.random.default_rng(0).normal(0, 0.01, pixels.shape)
    return SpectralCube(pixels.astype(np.float32), wavelengths=nm, name="stripes")


@pytest.fixture
def tiny_model() -> CARL:
    """Small network that runs in milliseconds."""
    torch.manual_seed(0)
    config = CARLConfig.from_dict(
        {
            "patch_size": 4,
            "spec_encoder_kwargs": {
                "embed_dim": 24, "n_queries": 2, "depth": 2, "num_heads": 2, "layer_scale": None,
            },
            "spat_encoder_kwargs": {
                "model_name": "vit_tiny_patch16_224",
                "depth": 1,
                "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 1},
            },
        }
    )  # fmt: skip
    return CARL(config, name="tiny").eval()
