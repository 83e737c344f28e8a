from __future__ import annotations

import importlib.util
import socket

import pytest
import torch

from carl.errors import ModelError
from carl.model.heads import HEADS, HeadConfig, build_head
from carl.model.heads.base import cross_entropy

SEGMENTATION = [name for name in HEADS if name not in ("classification", "multilabel")]
WAVELENGTHS_UM = torch.linspace(0.4, 0.8, 3)


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_built_offline(monkeypatch, head, name: str):
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    network = head(name)
    assert (network.n_classes, network.frozen) == (4, False)


@pytest.mark.parametrize("size", [(4, 4), (7, 10), (33, 18), (1, 21)])
@pytest.mark.parametrize("name", SEGMENTATION)
def test_logits_have_the_size_of_the_image(head, name: str, size: tuple[int, int]):
    network = head(name, 3).eval()
    with torch.no_grad():
        logits = network(torch.randn(2, 3, *size), WAVELENGTHS_UM)
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", HEADS)
def test_wavelengths_may_differ_between_images(head, name: str):
    network = head(name, 3).eval()
    image = torch.randn(2, 3, 12, 9)
    wavelengths_um = torch.stack([WAVELENGTHS_UM, WAVELENGTHS_UM + 0.1])
    with torch.no_grad():
        together = network(image, wavelengths_um)
        separate = torch.cat([network(image[i : i + 1], wavelengths_um[i]) for i in range(2)])
    torch.testing.assert_close(together, separate, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_frozen_network_does_not_change(head, name: str):
    network = head(name).freeze().train()
    before = {key: value.clone() for key, value in network.carl.state_dict().items()}
    labels = {"classification": torch.tensor([1, 2]), "multilabel": torch.eye(2, 4)}
    trained = [each for each in network.parameters() if each.requires_grad]
    loss = network.loss(
        torch.randn(2, 3, 16, 16), WAVELENGTHS_UM, labels.get(name, torch.randint(5, (2, 16, 16)))
    )
    loss.backward()
    torch.optim.SGD(trained, lr=1.0).step()
    assert network.frozen
    assert not network.carl.training
    assert trained
    for key, value in network.carl.state_dict().items():
        assert torch.equal(value, before[key])


def test_cross_entropy_ignores_unlabelled_pixels():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(4, (2, 4, 5))
    other = logits + 100 * torch.randn(2, 3, 4, 5) * (labels == 0)[:, None]
    labelled = labels > 0
    log_probability = (
        logits.movedim(1, -1)[labelled].log_softmax(-1).gather(1, labels[labelled][:, None] - 1)
    )
    torch.testing.assert_close(cross_entropy(logits, labels), -log_probability.mean())
    torch.testing.assert_close(cross_entropy(other, labels), -log_probability.mean())
    assert cross_entropy(logits, torch.zeros_like(labels)) == 0


@pytest.mark.parametrize("name", HEADS)
def test_missing_transformers_is_reported(monkeypatch, network, name: str):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "carl.model.heads.factory.find_spec",
        lambda wanted: None if wanted == "transformers" else find_spec(wanted),
    )
    if name in ("linear", "classification", "multilabel"):
        assert build_head(name, network(), 2).n_classes == 2
        return
    with pytest.raises(ModelError) as caught:
        build_head(name, network(), 2)
    assert str(caught.value) == (
        f"The head '{name}' needs transformers: pip install \"napari-carl[heads]\"."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("upernet", "head.name is 'upernet': choose one of linear, vit-adapter-upernet,"),
        ({"name": "linear", "adaptor": {}}, "no key 'head.adaptor': did you mean 'adapter'?"),
        ({"upernet": {"hidden": 3}}, "no key 'head.upernet.hidden': did you mean 'hidden_size'?"),
        ({"upernet": {"hidden_size": 0}}, "hidden_size of UperNet must be 1 or more"),
        ({"upernet": {"auxiliary_weight": -1}}, "auxiliary_weight of UperNet must be 0 or more"),
        ({"mask2former": {"hidden_size": 96}}, "96: it must be a multiple of 64"),
        ({"mask2former": {"queries": 0}}, "queries and points must be 1 or more"),
        ({"swin": {"embed_dim": 10}}, "Stage 1 of Swin has 10 channels"),
        ({"swin": {"window": 0}}, "window must be 1 or more"),
        ({"adapter": {"channels": 12}}, "channels is 12: it must be a multiple of 8"),
        ({"adapter": {"interactions": 0}}, "must be 1 or more"),
    ],
)
def test_invalid_configurations_raise(values: object, message: str):
    with pytest.raises(ModelError) as caught:
        HeadConfig.parse(values)
    assert message in str(caught.value)
