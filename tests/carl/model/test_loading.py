from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from carl.errors import ModelError
from carl.model import CARL, CARLConfig, build_model, load_model, named_models, save_model
from carl.model.named_models import NAMED_MODELS


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", NAMED_MODELS)
def test_named_networks_are_built_without_the_internet(name: str) -> None:
    assert build_model(name).name == name
    if NAMED_MODELS[name].publication is None:
        assert load_model(name, "cpu").name == name


@pytest.mark.usefixtures("no_network")
def test_weights_that_are_not_there_are_not_made_up() -> None:
    with pytest.raises(ModelError, match="get them by 'carl download carl-small-satellite'"):
        load_model("carl-small-satellite", "cpu")


def test_untrained_networks_say_so_and_are_always_the_same(
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


def test_the_state_of_the_callers_random_numbers_is_left_alone(
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


def test_a_file_of_ours_needs_no_configuration(
    small_model: Callable[..., CARL], tmp_path: Path
) -> None:
    model = small_model()
    save_model(model, tmp_path / "m.safetensors")
    assert load_model(str(tmp_path / "m.safetensors"), "cpu").fingerprint == model.fingerprint


def test_a_checkpoint_of_the_original_needs_one(carl_reference: Path) -> None:
    path = carl_reference / "vit_small_case/checkpoint.ckpt"
    with pytest.raises(ModelError, match="give the configuration"):
        load_model(path, "cpu")


@pytest.mark.parametrize("name", ["carl-huge", "absent.safetensors", ""])
def test_unknown_names_are_told_the_known_ones(name: str) -> None:
    with pytest.raises(ModelError, match="carl-nano"):
        load_model(name, "cpu")
    with pytest.raises(ModelError, match="carl-nano"):
        build_model(name)


def test_any_configuration_can_be_built(small_config: Callable[..., CARLConfig]) -> None:
    config = small_config(n_queries=5)
    assert build_model(config).config == config
