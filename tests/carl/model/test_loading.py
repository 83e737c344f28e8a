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
from carl.model import (
    CARL,
    CARLConfig,
    build_model,
    load_model,
    loading,
    named_models,
    save_model,
)
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.model.named_models import NAMED_MODELS

SMALL = {"embed_dim": 24, "num_heads": 2, "depth": 2}


@pytest.fixture
def no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_internet")
@pytest.mark.parametrize("name", NAMED_MODELS)
def test_named_models_are_built_offline(name: str) -> None:
    assert build_model(name).name == name
    if NAMED_MODELS[name].published is None:
        assert load_model(name, "cpu").name == name


@pytest.mark.usefixtures("no_internet")
def test_missing_published_weights_raise() -> None:
    with pytest.raises(ModelError, match="run 'carl download carl-small-satellite' first"):
        load_model("carl-small-satellite", "cpu")


def test_untrained_model_is_marked_and_deterministic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(named_models, "resource_path", lambda *parts: tmp_path.joinpath(*parts))
    state = torch.random.get_rng_state()
    first, second = load_model(device="cpu"), load_model("carl-nano", "cpu")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not first.trained
    assert not first.training
    assert first.fingerprint == second.fingerprint
    assert build_model("carl-nano", seed=1).fingerprint != first.fingerprint


def test_installed_weights_are_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(named_models, "resource_path", lambda *parts: tmp_path.joinpath(*parts))
    trained = build_model("carl-nano", seed=5)
    trained.trained = True
    save_model(trained, tmp_path / "weights/carl-nano.safetensors")
    loaded = load_model("carl-nano", "cpu")
    assert loaded.trained
    assert loaded.fingerprint == trained.fingerprint


def test_loading_does_not_change_the_global_random_state(
    small_model: Callable[..., CARL], carl_reference: Path, tmp_path: Path
) -> None:
    save_model(small_model(), tmp_path / "m.safetensors")
    reference = carl_reference / "vit_small_case"
    before = torch.random.get_rng_state()
    load_model("carl-nano", "cpu")
    load_model(tmp_path / "m.safetensors", "cpu")
    load_model(reference / "checkpoint.ckpt", "cpu", reference / "config.json")
    build_model("carl-nano")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_model_file_is_loaded_without_configuration(
    small_model: Callable[..., CARL], tmp_path: Path
) -> None:
    model = small_model()
    save_model(model, tmp_path / "m.safetensors")
    assert load_model(str(tmp_path / "m.safetensors"), "cpu").fingerprint == model.fingerprint


def test_original_checkpoint_requires_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ModelError, match="give the configuration"):
        load_model(path, "cpu")


@pytest.mark.parametrize("name", ["carl-huge", "absent.safetensors", ""])
def test_error_for_unknown_names_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError, match="carl-nano"):
        load_model(name, "cpu")
    with pytest.raises(ModelError, match="carl-nano"):
        build_model(name)


def test_model_is_built_from_a_configuration(small_config: Callable[..., CARLConfig]) -> None:
    config = small_config(n_queries=5)
    assert build_model(config).config == config


@pytest.fixture
def public_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replacement of the Hugging Face hub; returns the "downloaded" timm networks by name."""
    create, downloaded = timm.create_model, {}

    def fetch(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if "dinov2" in name:
            options = {"depth": 4, **options}
        network = create(name, pretrained=False, **options)
        if pretrained:
            for parameter in network.parameters():
                nn.init.normal_(parameter)
            downloaded[name] = network
        return network

    monkeypatch.setattr(timm, "create_model", fetch)
    monkeypatch.setattr(loading, "is_reachable", lambda _: True)
    return downloaded


def config_of_width(width: int) -> CARLConfig:
    return CARLConfig(
        spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=width, depth=2, num_heads=6),
        spat_encoder_kwargs=SpatialEncoderConfig("timm/eva02_tiny_patch14_224", 1, SMALL),
    )


def test_both_encoders_are_initialised_from_public_weights(public_weights: dict[str, Any]) -> None:
    model = build_model(config_of_width(384), pretrained=True)
    backbone = public_weights["eva02_tiny_patch14_224"]
    dino = public_weights["vit_small_patch14_dinov2.lvd142m"]
    for name, tensor in model.spatial_encoder.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name]), name
    ours, theirs = model.spectral_encoder.blocks[1], dino.blocks[1]
    joint = torch.cat([ours.attn.q.weight, ours.attn.k.weight, ours.attn.v.weight])
    assert torch.equal(joint, theirs.attn.qkv.weight)
    assert torch.equal(ours.attn.k.bias, theirs.attn.qkv.bias[384:768])
    assert torch.equal(ours.ls2.gamma, theirs.ls2.gamma)
    assert torch.equal(ours.mlp.fc1.weight, theirs.mlp.fc1.weight)
    assert not model.trained


def test_spectral_encoder_of_other_width_stays_random_with_a_warning(
    public_weights: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "carl"):
        model = build_model(config_of_width(96), pretrained=True)
    assert "width 96" in caplog.text
    blocks = build_model(config_of_width(96)).spectral_encoder.blocks
    assert torch.equal(model.spectral_encoder.blocks[0].attn.q.weight, blocks[0].attn.q.weight)
    assert list(public_weights) == ["eva02_tiny_patch14_224"]


def test_public_weights_are_downloaded_only_on_request(public_weights: dict[str, Any]) -> None:
    build_model(config_of_width(384))
    assert not public_weights


@pytest.mark.parametrize("error", [OSError("offline"), RuntimeError("no weights"), ValueError("?")])
def test_failed_download_of_public_weights_raises_model_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    create: Callable[..., nn.Module] = timm.create_model

    def fail(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise error
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", fail)
    monkeypatch.setattr(loading, "is_reachable", lambda _: True)
    with pytest.raises(ModelError, match="eva02_tiny_patch14_224"):
        build_model(config_of_width(384), pretrained=True)


def test_unreachable_hub_is_not_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(loading, "is_reachable", lambda _: False)
    resolve = Mock(side_effect=AssertionError("a connection was opened"))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(ModelError, match="connect this machine to the internet"):
        build_model(config_of_width(384), pretrained=True)
    assert not resolve.called
    assert not constants.HF_HUB_OFFLINE
