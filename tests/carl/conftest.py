from __future__ import annotations

import pytest
import torch

from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig


@pytest.fixture
def tiny_model() -> CARL:
    """A network that runs in milliseconds and in which every weight counts."""
    torch.manual_seed(0)
    config = CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(
            embed_dim=16, n_queries=3, depth=4, num_heads=2, layer_scale=0.1
        ),
        spat_encoder_kwargs=SpatialEncoderConfig(
            "vit_tiny_patch16_224", 3, {"embed_dim": 24, "num_heads": 2, "depth": 3}
        ),
    )
    model = CARL(config, name="tiny")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()
