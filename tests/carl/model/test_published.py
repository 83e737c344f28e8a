from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carl.errors import ModelError
from carl.model import CARL, download_weights, list_models, load_model, published
from carl.model.checkpoint import original_name
from carl.model.named_models import NAMED_MODELS, weights_path

NAME = "carl-small-satellite"


@pytest.fixture
def zenodo(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that knows records as Zenodo does."""
    monkeypatch.setattr(published, "SITE", server.address)
    return server


def publish(zenodo: Any, content: bytes, **changes: object) -> None:
    """Put a file into the record of the network's weights."""
    publication = NAMED_MODELS[NAME].publication
    assert publication is not None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    entry = {"key": publication.file, "size": len(content), "checksum": f"md5:{digest}", **changes}
    record = {"id": publication.record, "files": [{"key": "other"}, entry]}
    zenodo.files[f"/api/records/{publication.record}"] = json.dumps(record).encode()
    zenodo.files[f"/records/{publication.record}/files/{publication.file}"] = content


def test_the_address_is_the_one_the_authors_give() -> None:
    publication = NAMED_MODELS[NAME].publication
    assert publication is not None
    assert published.SITE == "https://zenodo.org"
    assert (publication.record, publication.file) == (18671944, "ssl_checkpoint_carl.ckpt")


def test_the_network_is_the_one_its_authors_trained() -> None:
    """What config_ssl.yaml beside the published checkpoint says of it."""
    spectral = {"embed_dim": 384, "depth": 8, "num_heads": 6, "pos_enc_sigma": 3, "n_queries": 8}
    backbone = {"model_name": "timm/eva02_base_patch14_224.mim_in22k", "depth": 8}
    config = NAMED_MODELS[NAME].config
    assert config.patch_size == 8
    assert vars(config.spec_encoder_kwargs).items() >= spectral.items()
    assert vars(config.spat_encoder_kwargs).items() >= backbone.items()


def test_published_weights_are_loaded_by_name(
    zenodo: Any,
    small_model: Callable[..., CARL],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    carl_home: Path,
) -> None:
    authors = small_model()
    monkeypatch.setitem(NAMED_MODELS, NAME, replace(NAMED_MODELS[NAME], config=authors.config))
    state = {f"model.{original_name(name)}": t for name, t in authors.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "ckpt")
    publish(zenodo, (tmp_path / "ckpt").read_bytes())

    assert not next(info for info in list_models() if info.name == NAME).trained
    path = download_weights(NAME)
    assert path == weights_path(NAME)
    assert path.is_relative_to(carl_home)
    assert next(info for info in list_models() if info.name == NAME).trained

    model = load_model(NAME, "cpu")
    assert (model.name, model.trained) == (NAME, True)
    assert model.wavelength_range_um == (0.418, 2.446)
    assert model.fingerprint == authors.fingerprint
    zenodo.close()
    assert download_weights(NAME) == path


@pytest.mark.parametrize(
    "changes", [{"key": "another.ckpt"}, {"checksum": ""}, {"size": "?"}, {"size": 0}]
)
def test_a_record_that_does_not_tell_enough_is_refused(
    zenodo: Any, changes: dict[str, object]
) -> None:
    publish(zenodo, b"content", **changes)
    with pytest.raises(ModelError, match=r"ssl_checkpoint_carl\.ckpt"):
        download_weights(NAME)
    assert not weights_path(NAME).exists()


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"files": {}}'])
def test_a_page_in_place_of_a_record_is_refused(zenodo: Any, answer: bytes) -> None:
    zenodo.files["/api/records/18671944"] = answer
    with pytest.raises(ModelError, match="does not tell"):
        download_weights(NAME)


@pytest.mark.parametrize("name", ["carl-nano", "carl-huge"])
def test_only_published_weights_are_downloaded(zenodo: Any, name: str) -> None:
    with pytest.raises(ModelError, match=NAME):
        download_weights(name)
    assert not zenodo.asked
