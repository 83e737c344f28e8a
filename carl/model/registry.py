"""The networks that have a name. Reading this list does not load PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carl.files import resource_path
from carl.model.config import CARLConfig, SpatialEncoderConfig, SpectralEncoderConfig

DEFAULT_MODEL = "carl-nano"


@dataclass(frozen=True)
class ModelInfo:
    """A named network.

    Attributes:
        name: as `carl.load_model` takes it.
        description: one line for a person.
        parameters: how many numbers it learns.
        trained: whether trained weights are installed; an untrained network has random ones.
        default: whether it is the one used when none is named.
    """

    name: str
    description: str
    parameters: int
    trained: bool
    default: bool


@dataclass(frozen=True)
class NamedModel:
    """What a name stands for.

    Attributes:
        description: one line for a person.
        parameters: how many numbers it learns.
        config: what it is made of.
    """

    description: str
    parameters: int
    config: CARLConfig


_EVA02_BASE = SpatialEncoderConfig("timm/eva02_base_patch14_224.mim_in22k", depth=8)

# LayerScale keeps blocks with DINOv2 weights quiet at first. In a network that starts from random
# weights it would make the features of all patches the same to five digits, so nano has none.
NAMED_MODELS = {
    "carl-nano": NamedModel(
        "small enough for a laptop without a GPU",
        2_514_336,
        CARLConfig(
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=96, n_queries=8, depth=6, num_heads=4, layer_scale=None
            ),
            spat_encoder_kwargs=SpatialEncoderConfig("timm/vit_tiny_patch16_224", depth=4),
        ),
    ),
    "carl-small": NamedModel(
        "the network of the paper: D 384 and eight blocks of EVA-02-B",
        71_462_272,
        CARLConfig(
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=384, n_queries=8, depth=8, num_heads=6, layer_scale=1e-4
            ),
            spat_encoder_kwargs=_EVA02_BASE,
        ),
    ),
    "carl-base": NamedModel(
        "the wider network of the paper's ablation: D 768 and eight blocks of EVA-02-B",
        114_299_392,
        CARLConfig(
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=768, n_queries=8, depth=8, num_heads=12, layer_scale=1e-4
            ),
            spat_encoder_kwargs=_EVA02_BASE,
        ),
    ),
}


def list_models() -> tuple[ModelInfo, ...]:
    """All networks that have a name, the default first."""
    return tuple(
        ModelInfo(
            name=name,
            description=named.description,
            parameters=named.parameters,
            trained=weights_path(name).is_file(),
            default=name == DEFAULT_MODEL,
        )
        for name, named in NAMED_MODELS.items()
    )


def weights_path(name: str) -> Path:
    """Where the trained weights of a named network lie, once they are installed."""
    return resource_path("weights", f"{name}.safetensors")
