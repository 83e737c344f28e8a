"""Public weights to start training from: DINOv2 for the bands, any backbone of timm for space."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
from huggingface_hub import constants
from torch import Tensor

from carl.errors import ModelError
from carl.model.carl import CARL
from carl.model.download import is_reachable
from carl.model.spatial_encoder import create_backbone

_LOG = logging.getLogger(__name__)

_DINOV2 = {
    384: "vit_small_patch14_dinov2.lvd142m",
    768: "vit_base_patch14_dinov2.lvd142m",
}
"""The DINOv2 network of each width."""


def load_public_weights(model: CARL) -> None:
    """Give the blocks of both encoders public weights, in place.

    What is not in timm's cache yet is downloaded, with the progress, resumption and checksums of
    the Hugging Face hub.

    The spatial encoder takes those of its backbone. The spectral encoder takes the blocks of the
    DINOv2 ViT of its width, with the joint layer for queries, keys and values split in three; for
    other widths there are none, and a warning is logged.

    Raises:
        ModelError: they are neither in timm's cache nor can they be downloaded.
    """
    config = model.config
    backbone = _download(
        config.spat_encoder_kwargs.model_name,
        lambda: create_backbone(config.spat_encoder_kwargs, pretrained=True),
    )
    own = model.spatial_encoder.state_dict()
    public = backbone.state_dict()
    model.spatial_encoder.load_state_dict({name: public[name] for name in own})

    width = config.spec_encoder_kwargs.embed_dim
    if width not in _DINOV2:
        _LOG.warning(
            "No DINOv2 network has the width %d: the spectral encoder keeps its random weights.",
            width,
        )
        return
    name = _DINOV2[width]
    dino = _download(name, lambda: timm.create_model(name, pretrained=True))
    blocks = split_qkv(dino.blocks.state_dict())
    own = model.spectral_encoder.blocks.state_dict()
    model.spectral_encoder.blocks.load_state_dict(
        {name: blocks.get(name, tensor) for name, tensor in own.items()}
    )


def split_qkv(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of blocks whose joint layer for queries, keys and values is split in three."""
    split: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if ".attn.qkv." in name:
            for letter, third in zip("qkv", tensor.chunk(3), strict=True):
                split[name.replace(".qkv.", f".{letter}.")] = third
        else:
            split[name] = tensor
    return split


def _download(name: str, create: Any) -> Any:
    """What `create` gives, or one error whichever of the many ways a download can fail in."""
    try:
        with _no_retries_offline():
            return create()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"The public weights of {name} are not on this machine and cannot be downloaded: "
            "connect it to the internet once, or start from random weights."
        ) from error


@contextmanager
def _no_retries_offline() -> Iterator[None]:
    """Where the hub is out of reach, look into its cache at once, not after a minute of tries."""
    wanted = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = wanted or not is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = wanted
