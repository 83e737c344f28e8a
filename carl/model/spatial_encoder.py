"""Spatial encoder: the blocks of a timm ViT or EVA, applied to a map of spectral features."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import Eva, VisionTransformer
from torch import Tensor, nn

from carl.errors import ModelError
from carl.model.config import SpatialEncoderConfig


class SpatialEncoder(nn.Module):
    """The first blocks of a timm backbone, with its position encoding and prefix tokens.

    Patch embedding, final norm and classifier of the backbone are not used. The map may have any
    size and aspect ratio: absolute position encodings are resampled to it, rotary ones are computed
    for it. Backbones: ViT (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929) and EVA-02
    (Fang et al. 2023, https://arxiv.org/abs/2303.11331).

    Args:
        config: name of the backbone and number of its blocks.

    Attributes:
        embed_dim: D, channels of the input and output maps.
        n_prefix: number of class, distillation and register tokens before the patch tokens.

    Raises:
        ModelError: timm has no such backbone, or it is not a ViT or EVA.
    """

    def __init__(self, config: SpatialEncoderConfig) -> None:
        super().__init__()
        backbone = create_backbone(config)
        self.embed_dim: int = backbone.embed_dim
        self.cls_token = backbone.cls_token
        self.dist_token = getattr(backbone, "dist_token", None)
        self.reg_token = backbone.reg_token
        self.pos_embed = backbone.pos_embed
        self.pos_drop = backbone.pos_drop
        self.rope = getattr(backbone, "rope", None)
        self.blocks = backbone.blocks[: config.depth]
        self._grid_size: tuple[int, int] = backbone.patch_embed.grid_size
        self.n_prefix: int = backbone.num_prefix_tokens
        self._prefix_has_position = not backbone.no_embed_class
        self._rope_per_block: bool = getattr(backbone, "rope_mixed", False)

    def forward(self, features: Tensor, visible: Tensor | None = None) -> Tensor:
        """Encode a feature map.

        Args:
            features: (B, D, h, w).
            visible: (B, h, w) bool, False at masked patches: their features are replaced by zeros
                and they are excluded from the attention keys. All visible by default.

        Returns:
            (B, D, h, w).
        """
        h, w = features.shape[2:]
        mask = None
        if visible is not None:
            features = features.masked_fill(~visible[:, None], 0.0)
            mask = self._attention_mask(visible, features.dtype)
        return self.to_map(self.run_blocks(self.tokens(features), (h, w), mask=mask), (h, w))

    def tokens(self, features: Tensor) -> Tensor:
        """Compute the input tokens (B, prefix + h·w, D) of the first block from (B, D, h, w).

        Prefix tokens come first; the position encoding is included.
        """
        h, w = features.shape[2:]
        return self._add_positions(features.flatten(2).transpose(1, 2), (h, w))

    def run_blocks(
        self,
        x: Tensor,
        grid: tuple[int, int],
        blocks: slice = slice(None),
        mask: Tensor | None = None,
        rows: slice = slice(None),
    ) -> Tensor:
        """Apply a range of blocks to tokens.

        Args:
            x: (B, prefix + h·w, D).
            grid: (h, w).
            blocks: range of block indices; all by default.
            mask: (B, 1, 1, prefix + h·w), added to the attention scores.
            rows: range of the h·w patch tokens that `x` contains; all by default.

        Returns:
            tokens of the same shape.
        """
        rotary = None if self.rope is None else self.rope.get_embed(shape=grid)
        for index in range(len(self.blocks))[blocks]:
            options: dict[str, Tensor] = {}
            if mask is not None:
                options["attn_mask"] = mask
            if rotary is not None:
                of_block = rotary[index] if self._rope_per_block else rotary
                options["rope"] = of_block[..., rows, :]
            x = self.blocks[index](x, **options)
        return x

    def to_map(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Reshape tokens (B, prefix + h·w, D) to a map (B, D, h, w), dropping the prefix."""
        patches = x[:, self.n_prefix :]
        return patches.transpose(1, 2).reshape(len(x), -1, *grid)

    def _add_positions(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Prepend the prefix tokens to (B, h·w, D) and add the absolute position encoding."""
        tokens = (self.cls_token, self.dist_token, self.reg_token)
        prefix = [token.expand(len(x), -1, -1) for token in tokens if token is not None]
        if self.pos_embed is None:
            x = torch.cat([*prefix, x], dim=1)
        else:
            position = resample_abs_pos_embed(
                self.pos_embed,
                new_size=list(grid),
                old_size=list(self._grid_size),
                num_prefix_tokens=self.n_prefix if self._prefix_has_position else 0,
            )
            if self._prefix_has_position:
                x = torch.cat([*prefix, x], dim=1) + position
            else:
                x = torch.cat([*prefix, x + position], dim=1)
        dropped: Tensor = self.pos_drop(x)
        return dropped

    def _attention_mask(self, visible: Tensor, dtype: torch.dtype) -> Tensor:
        """Return (B, 1, 1, prefix + h·w): 0 for visible keys and prefix tokens, -inf for masked."""
        hidden = nn.functional.pad(~visible.flatten(1), (self.n_prefix, 0), value=False)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        return mask.masked_fill(hidden, -torch.inf)[:, None, None]


def create_backbone(config: SpatialEncoderConfig, *, pretrained: bool = False) -> Any:
    """Create the complete timm backbone; random weights need no internet connection.

    Raises:
        ModelError: timm has no such backbone, it is not a ViT or EVA, or its options are invalid.
    """
    name = config.model_name.removeprefix("hf-hub:").removeprefix("hf_hub:").removeprefix("timm/")
    if not timm.is_model(name):
        raise ModelError(
            f"timm has no model '{config.model_name}': choose a ViT or EVA from its list of models."
        )
    options = {**config.model_kwargs, "dynamic_img_size": True}
    if options.get("patch_drop_rate"):
        raise ModelError("patch_drop_rate must be 0: every patch of the map is needed.")
    try:
        backbone = timm.create_model(name, pretrained=pretrained, **options)
    except OSError:  # the weights cannot be downloaded
        raise
    except Exception as error:  # timm checks few of its options
        raise ModelError(
            f"timm cannot create '{config.model_name}' with the options "
            f"{dict(config.model_kwargs)}: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(backbone, (Eva, VisionTransformer)):
        raise ModelError(
            f"'{config.model_name}' is neither a ViT nor an EVA: choose one of those from timm."
        )
    return backbone
