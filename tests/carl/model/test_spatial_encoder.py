from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from carl.errors import ModelError
from carl.model.config import SpatialEncoderConfig
from carl.model.spatial_encoder import SpatialEncoder, create_backbone

DEPTH = 2
SMALL = {"embed_dim": 48, "num_heads": 4, "depth": 3}
BACKBONES = [
    "vit_tiny_patch16_224",
    "vit_small_patch8_224",
    "timm/vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2",
    "vit_medium_patch16_reg4_gap_256",
    "vit_base_patch16_clip_224",
    "vit_small_patch16_36x1_224",
    "deit3_small_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "vit_base_patch16_siglip_224",
    "timm/eva02_tiny_patch14_224.mim_in22k",
    "eva02_base_patch16_clip_224",
    "vit_small_patch16_dinov3",
    "vit_small_patch16_dinov3_qkvb",
    "vit_small_plus_patch16_dinov3",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_ape_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_small_patch16_rope_mixed_ape_224",
    "vit_medium_patch16_rope_reg1_gap_256",
    "vit_pe_spatial_small_patch16_512",
]


class IdentityEmbedding(nn.Module):
    """Replacement of a backbone's patch embedding that returns its input, a feature map."""

    def __init__(self, grid_size: tuple[int, int]) -> None:
        super().__init__()
        self.grid_size = grid_size

    def forward(self, x: Tensor) -> Tensor:
        return x


def forward_by_timm(backbone: Any, features: Tensor) -> Tensor:
    """Apply timm's own forward pass without patch embedding, pre-norm and final norm."""
    backbone.patch_embed = IdentityEmbedding(backbone.patch_embed.grid_size)
    backbone.norm_pre = backbone.norm = nn.Identity()
    backbone.blocks = backbone.blocks[:DEPTH]
    x = backbone.forward_features(features.permute(0, 2, 3, 1).contiguous())
    x = x[:, backbone.num_prefix_tokens :]
    return x.transpose(1, 2).reshape(features.shape)


@pytest.mark.parametrize("name", BACKBONES)
def test_encoder_equals_the_timm_backbone_on_any_grid(name: str) -> None:
    config = SpatialEncoderConfig(name, DEPTH, SMALL)
    encoder, backbone = SpatialEncoder(config).eval(), create_backbone(config).eval()
    torch.manual_seed(0)
    for parameter_name, parameter in encoder.named_parameters():
        nn.init.normal_(parameter, std=0.2)
        backbone.get_parameter(parameter_name).data.copy_(parameter.data)
    with torch.no_grad():
        for grid in ((4, 4), (5, 7), (1, 9), (14, 14)):
            features = torch.randn(2, 48, *grid)
            expected = forward_by_timm(backbone, features)
            torch.testing.assert_close(encoder(features), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224"]
)
@pytest.mark.parametrize("fused", [True, False])
def test_masked_patches_have_no_influence(name: str, fused: bool) -> None:
    torch.manual_seed(0)
    encoder = SpatialEncoder(SpatialEncoderConfig(name, DEPTH, SMALL)).eval()
    for block in encoder.blocks:
        block.attn.fused_attn = fused
    features = torch.randn(2, 48, 3, 4)
    visible = torch.rand(2, 3, 4) > 0.4
    changed = torch.where(visible[:, None], features, torch.full_like(features, torch.nan))
    with torch.no_grad():
        before, after = (encoder(each, visible) for each in (features, changed))
        all_visible = encoder(features, torch.ones(2, 3, 4, dtype=torch.bool))
        unmasked = encoder(features)
    shown = visible[:, None].expand_as(before)
    assert torch.equal(before[shown], after[shown])
    assert not torch.allclose(before[shown], unmasked[shown])
    torch.testing.assert_close(all_visible, unmasked, atol=1e-5, rtol=1e-5)


def test_prefix_tokens_are_never_masked() -> None:
    encoder = SpatialEncoder(
        SpatialEncoderConfig("vit_small_patch14_reg4_dinov2", DEPTH, SMALL)
    ).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.2)
    features, visible = torch.randn(1, 48, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool)
    visible[0, 0, 0] = True
    with torch.no_grad():
        before = encoder(features, visible)[..., 0, 0]
        encoder.reg_token[:, -1] += torch.randn(48)
        after = encoder(features, visible)[..., 0, 0]
    assert not torch.allclose(before, after)


def test_features_depend_on_position() -> None:
    encoder = SpatialEncoder(SpatialEncoderConfig("vit_tiny_patch16_224", DEPTH, SMALL)).eval()
    features = torch.randn(1, 48, 3, 3)
    flipped = encoder(features.flip(-1)).flip(-1)
    assert not torch.allclose(encoder(features), flipped, atol=1e-4)


def test_state_dict_contains_only_the_parts_that_run() -> None:
    encoder = SpatialEncoder(SpatialEncoderConfig("vit_tiny_patch16_224", DEPTH, SMALL))
    top_level = {name.split(".")[0] for name in encoder.state_dict()}
    assert top_level == {"cls_token", "pos_embed", "blocks"}
    assert len(encoder.blocks) == DEPTH


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit_of_my_own", {}, "timm has no model"),
        ("hf-hub:somebody/network", {}, "timm has no model"),
        ("resnet18", {}, "resnet18"),
        ("vit_tiny_patch16_224.no_such_tag", {}, "no_such_tag"),
        ("vit_tiny_patch16_224", {"colour": "blue"}, "colour"),
        ("vit_tiny_patch16_224", {"patch_drop_rate": 0.5}, "patch_drop_rate"),
        ("vit_tiny_patch16_224", {"embed_dim": 50, "num_heads": 3}, "timm cannot create"),
    ],
)
def test_invalid_backbones_raise(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SpatialEncoder(SpatialEncoderConfig(name, 1, options))
