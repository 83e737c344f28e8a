from __future__ import annotations

import pytest
import torch

from carl.model import CARL, CARLConfig, build_model
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.model.heads.factory import AdapterOptions
from carl.model.heads.vit_adapter import SpatialPrior, VirtualColours, ViTAdapter

WAVELENGTHS_UM = torch.linspace(0.4, 0.8, 5)
OPTIONS = AdapterOptions(num_heads=2, channels=8, n_colours=4)
BACKBONES = {
    "absolute": ("vit_tiny_patch16_224", {"embed_dim": 24, "num_heads": 2}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"embed_dim": 24, "num_heads": 2}),
    "rotary": ("eva02_tiny_patch14_224", {"embed_dim": 24, "num_heads": 2}),
    "rotary, mixed": ("vit_small_patch16_rope_mixed_224", {"embed_dim": 24, "num_heads": 2}),
}


def network(backbone: str = "absolute", depth: int = 5, patch_size: int = 4) -> CARL:
    name, options = BACKBONES[backbone]
    return build_model(
        CARLConfig(
            patch_size=patch_size,
            spec_encoder_kwargs=SpectralEncoderConfig(
                embed_dim=16, n_queries=2, depth=2, num_heads=2, layer_scale=None
            ),
            spat_encoder_kwargs=SpatialEncoderConfig(name, depth, options),
        )
    ).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("patch_size", [3, 4, 8])
def test_four_scales_of_images_of_any_size_are_computed(backbone: str, patch_size: int):
    carl = network(backbone, patch_size=patch_size)
    maps = ViTAdapter(carl, OPTIONS)(
        carl, torch.randn(2, 5, 3 * patch_size - 1, 4 * patch_size), WAVELENGTHS_UM
    )
    assert [tuple(each.shape) for each in maps] == [
        (2, 24, 12, 16), (2, 24, 6, 8), (2, 24, 3, 4), (2, 24, 2, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("depth", [2, 5])
def test_untrained_adapter_does_not_change_the_spatial_features(
    monkeypatch, backbone: str, depth: int
):
    """Injections start at zero, and every block is applied once, in order."""
    carl = network(backbone, depth)
    adapter = ViTAdapter(carl, OPTIONS)
    stages = []
    monkeypatch.setattr(adapter, "_add_stages", lambda maps, given: stages.extend(given) or maps)
    image = torch.randn(1, 5, 12, 20)
    adapter(carl, image, WAVELENGTHS_UM)
    assert len(stages) == min(depth, 4)
    torch.testing.assert_close(stages[-1], carl(image, WAVELENGTHS_UM).spatial)


def test_every_parameter_gets_a_gradient():
    carl = network()
    adapter = ViTAdapter(carl, OPTIONS)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    maps = adapter(carl, torch.randn(2, 5, 16, 16), WAVELENGTHS_UM)
    sum(each.square().sum() for each in maps).backward()
    without = [name for name, each in adapter.named_parameters() if not each.grad.abs().sum() > 0]
    assert without == []


def test_virtual_colours_do_not_depend_on_order_and_number_of_bands():
    torch.manual_seed(0)
    colours = VirtualColours(16, 3)
    image, encoding = torch.randn(2, 5, 4, 6), torch.randn(1, 5, 16)
    expected = colours(image, encoding)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(colours(image[:, order], encoding[:, order]), expected)
    twice = colours(image.repeat(1, 2, 1, 1), encoding.repeat(1, 2, 1))
    torch.testing.assert_close(twice, expected)
    separate = [colours(image[i : i + 1], encoding) for i in range(2)]
    torch.testing.assert_close(torch.cat(separate), expected)


def test_prior_resolves_positions_within_a_patch():
    torch.manual_seed(0)
    prior = SpatialPrior(16, 24, channels=8)
    image = torch.zeros(2, 5, 16, 16)
    image[0, :, 5, 5] = image[1, :, 6, 7] = 10
    spectral, encoding = torch.zeros(2, 24, 4, 4), torch.randn(1, 5, 16)
    finest, *coarser = prior(image, encoding, spectral)
    assert not torch.allclose(finest[0], finest[1])
    torch.testing.assert_close(finest[0, :, 3:8, 3:8], finest[1, :, 4:9, 5:10])
    assert [tuple(each.shape[2:]) for each in coarser] == [(8, 8), (4, 4), (2, 2)]
