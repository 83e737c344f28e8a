from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import timm
import torch
from huggingface_hub import constants
from torch import nn

from carl.errors import ModelError
from carl.model import CARLConfig, build_model, pretrained
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig

SMALL = {"embed_dim": 24, "num_heads": 2, "depth": 2}


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for the internet: networks of timm with weights of our own, kept by name."""
    create, given = timm.create_model, {}

    def fetch(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if "dinov2" in name:
            options = {"depth": 4, **options}
        network = create(name, pretrained=False, **options)
        if pretrained:
            for parameter in network.parameters():
                nn.init.normal_(parameter)
            given[name] = network
        return network

    monkeypatch.setattr(timm, "create_model", fetch)
    monkeypatch.setattr(pretrained, "is_reachable", lambda _: True)
    return given


def config(width: int) -> CARLConfig:
    return CARLConfig(
        spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=width, depth=2, num_heads=6),
        spat_encoder_kwargs=SpatialEncoderConfig("timm/eva02_tiny_patch14_224", 1, SMALL),
    )


def test_blocks_of_both_encoders_take_public_weights(public: dict[str, Any]) -> None:
    model = build_model(config(384), pretrained=True)
    backbone, dino = public["eva02_tiny_patch14_224"], public["vit_small_patch14_dinov2.lvd142m"]
    for name, tensor in model.spatial_encoder.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name]), name
    ours, theirs = model.spectral_encoder.blocks[1], dino.blocks[1]
    joint = torch.cat([ours.attn.q.weight, ours.attn.k.weight, ours.attn.v.weight])
    assert torch.equal(joint, theirs.attn.qkv.weight)
    assert torch.equal(ours.attn.k.bias, theirs.attn.qkv.bias[384:768])
    assert torch.equal(ours.ls2.gamma, theirs.ls2.gamma)
    assert torch.equal(ours.mlp.fc1.weight, theirs.mlp.fc1.weight)
    assert not model.trained


def test_other_widths_keep_random_bands_and_say_so(
    public: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "carl"):
        model = build_model(config(96), pretrained=True)
    assert "width 96" in caplog.text
    blocks = build_model(config(96)).spectral_encoder.blocks
    assert torch.equal(model.spectral_encoder.blocks[0].attn.q.weight, blocks[0].attn.q.weight)
    assert list(public) == ["eva02_tiny_patch14_224"]


def test_public_weights_are_fetched_only_when_asked_for(public: dict[str, Any]) -> None:
    build_model(config(384))
    assert not public


@pytest.mark.parametrize("error", [OSError("offline"), RuntimeError("no weights"), ValueError("?")])
def test_one_error_when_they_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    create: Callable[..., nn.Module] = timm.create_model

    def fail(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise error
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(pretrained, "is_reachable", lambda _: True)
    with pytest.raises(ModelError, match="eva02_tiny_patch14_224"):
        build_model(config(384), pretrained=True)


def test_nothing_is_tried_for_long_where_the_hub_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(pretrained, "is_reachable", lambda _: False)
    started = Mock(side_effect=AssertionError("the network was used"))
    monkeypatch.setattr(socket, "getaddrinfo", started)
    with pytest.raises(ModelError, match="connect it to the internet once"):
        build_model(config(384), pretrained=True)
    assert not started.called
    assert not constants.HF_HUB_OFFLINE
