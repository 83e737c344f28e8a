"""Factories of small networks and heads, and labelled crops of the sample cube."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.files import resource_path
from carl.io import read_cube, read_labels
from carl.model import CARL, CARLConfig, build_model
from carl.model.heads import HeadConfig, build_head
from carl.model.heads.base import Head

SMALL = {
    "adapter": {"num_heads": 2, "channels": 8, "n_colours": 4},
    "swin": {
        "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 4], "window": 4,
        "drop_path": 0,
    },
    "upernet": {"hidden_size": 16},
    "mask2former": {
        "hidden_size": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 3, "queries": 8,
    },
}  # fmt: skip
"""Options of heads that train in seconds."""

CROP_CORNERS = {
    "lumen": (580, 748), "urothelium": (548, 548), "stroma": (416, 268), "blood": (196, 28),
    "lumen and urothelium": (484, 572), "urothelium and stroma": (68, 272),
}  # fmt: skip
"""Upper left corners (row, column) of 96 × 96 pixels of the sample, by the classes they contain."""


class Crops(NamedTuple):
    """Images (B, C, S, S), wavelengths (C,) in µm and labels (B, S, S)."""

    image: Tensor
    wavelengths_um: Tensor
    labels: Tensor


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def network(quick_config: CARLConfig) -> Callable[[], CARL]:
    """Factory of small networks."""

    def make() -> CARL:
        return build_model(quick_config)

    return make


@pytest.fixture
def head(network: Callable[[], CARL]) -> Callable[..., Head]:
    """Factory of small heads by name."""

    def make(name: str, n_classes: int = 4) -> Head:
        return build_head(HeadConfig.parse({"name": name, **SMALL}), network(), n_classes)

    return make


@pytest.fixture(scope="session")
def crops() -> Callable[..., Crops]:
    """Factory of crops of the sample at `CROP_CORNERS`: every third pixel, every sixth band."""
    cube = read_cube(resource_path("sample", "bladder.tif"))
    labels = read_labels(resource_path("sample", "bladder_labels.png")).labels.astype(np.int64)
    bands = slice(1, None, 6)

    def crop(*corners: str) -> Crops:
        images, truth = [], []
        for row, column in map(CROP_CORNERS.__getitem__, corners):
            rows, columns = slice(row, row + 96), slice(column, column + 96)
            images.append(cube.read(rows, columns, bands)[::3, ::3])
            truth.append(labels[rows, columns][::3, ::3])
        values = (np.stack(images) - 0.92) / 0.135
        assert cube.wavelengths is not None
        return Crops(
            torch.from_numpy(values).movedim(-1, 1).contiguous(),
            torch.as_tensor(cube.wavelengths[bands] / 1000, dtype=torch.float32),
            torch.from_numpy(np.stack(truth)),
        )

    return crop
