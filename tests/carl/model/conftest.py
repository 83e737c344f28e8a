"""Factories of small networks that are built in milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig


@pytest.fixture
def small_config() -> Callable[..., CARLConfig]:
    """Factory of small configurations; keyword arguments change the spectral encoder."""

    def make(*, patch_size: int = 4, **spectral: object) -> CARLConfig:
        values = {"embed_dim": 16, "n_queries": 3, "depth": 4, "num_heads": 2, **spectral}
        return CARLConfig(
            patch_size=patch_size,
            spec_encoder_kwargs=SpectralEncoderConfig(**values),  # type: ignore[arg-type]
            spat_encoder_kwargs=SpatialEncoderConfig(
                "vit_tiny_patch16_224", 2, {"embed_dim": 24, "num_heads": 2, "depth": 2}
            ),
        )

    return make


@pytest.fixture
def small_model(small_config: Callable[..., CARLConfig]) -> Callable[..., CARL]:
    """Factory of networks whose weights are all far from zero; arguments as of `small_config`."""

    def make(**changes: object) -> CARL:
        torch.manual_seed(0)
        model = CARL(small_config(**changes))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        return model.eval()

    return make
