"""Tests of the auxiliary head of UperNet."""

from __future__ import annotations

import pytest
import torch

from carl.model.heads import HeadConfig, build_head
from carl.model.heads.base import cross_entropy, to_pixels

WAVELENGTHS_UM = torch.linspace(0.4, 0.8, 3)


@pytest.fixture
def upernet(network):
    def make(weight: float):
        values = {
            "name": "vit-adapter-upernet",
            "adapter": {"num_heads": 2, "channels": 8, "n_colours": 4},
            "upernet": {"hidden_size": 16, "auxiliary_weight": weight},
        }
        torch.manual_seed(0)
        return build_head(HeadConfig.parse(values), network(), 3)

    return make


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 16, 20, generator=generator)
    return image, WAVELENGTHS_UM, torch.randint(4, (2, 16, 20), generator=generator)


def test_auxiliary_loss_is_added_with_its_weight(upernet, batch):
    image, wavelengths_um, labels = batch
    alone, both = upernet(0.0).eval(), upernet(0.4).eval()
    with torch.no_grad():
        coarse = both.auxiliary(both.pyramid(both.carl, image, wavelengths_um))
        auxiliary = cross_entropy(to_pixels(coarse, 4, image), labels)
        torch.testing.assert_close(both.loss(*batch), alone.loss(*batch) + 0.4 * auxiliary)
        torch.testing.assert_close(
            alone.loss(*batch), cross_entropy(alone(image, wavelengths_um), labels)
        )
    assert coarse.shape[1] == 3
    assert alone.auxiliary is None


def test_auxiliary_loss_trains_the_auxiliary_head_and_the_network(upernet, batch):
    alone, both = upernet(0.0).eval(), upernet(0.4).eval()
    for network in (alone, both):
        network.loss(*batch).backward()
    assert all(each.grad.abs().max() > 0 for each in both.auxiliary.classifier.parameters())
    gradients = [network.carl.patch_embedding.weight.grad for network in (alone, both)]
    assert not torch.allclose(*gradients)


def test_prediction_does_not_use_the_auxiliary_head(upernet, batch):
    image, wavelengths_um, _ = batch
    network = upernet(0.4).eval()
    network.auxiliary.register_forward_pre_hook(
        lambda *_: pytest.fail("the auxiliary head was used")
    )
    with torch.no_grad():
        torch.testing.assert_close(
            network(image, wavelengths_um), upernet(0.0).eval()(image, wavelengths_um)
        )
