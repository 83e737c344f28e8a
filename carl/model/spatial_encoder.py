"""The spatial encoder: the blocks of a ViT or EVA on a map of features in place of an image."""

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
    """The first blocks of a backbone from timm, with its position code and its prefix tokens.

    Its patch embedding, its final norm and its head have no part in this. Grids need not be square,
    nor of the size the backbone was made for: absolute positions are resampled, rotary ones are
    computed for the grid.

    Args:
        config: which backbone, and how many of its blocks.

    Attributes:
        embed_dim: D, channels of the map, in and out.
        n_prefix: number of class and register tokens before the patches.

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
        """Encode a map.

        Args:
            features: (B, D, h, w).
            visible: (B, h, w), False where a patch is hidden: it enters as zeros and no other
                patch attends to it. All by default.

        Returns:
            (B, D, h, w).
        """
        h, w = features.shape[2:]
        mask = None
        if visible is not None:
            features = features.masked_fill(~visible[:, None], 0.0)
            mask = self._attention_mask(visible, features.dtype)
        return self.patches(self.run_blocks(self.tokens(features), (h, w), mask=mask), (h, w))

    def tokens(self, features: Tensor) -> Tensor:
        """What enters the first block: prefix tokens and patches, with their positions.

        Args:
            features: (B, D, h, w).

        Returns:
            (B, prefix + h·w, D).
        """
        h, w = features.shape[2:]
        return self._with_positions(features.flatten(2).transpose(1, 2), (h, w))

    def run_blocks(
        self,
        x: Tensor,
        grid: tuple[int, int],
        blocks: slice = slice(None),
        mask: Tensor | None = None,
        rows: slice = slice(None),
    ) -> Tensor:
        """Pass tokens through some of the blocks.

        Args:
            x: (B, prefix + h·w, D).
            grid: (h, w).
            blocks: which; all by default.
            mask: (B, 1, 1, prefix + h·w) to add to attention scores.
            rows: which of the h·w patches `x` holds, where it does not hold all.

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

    def patches(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """The map (B, D, h, w) of tokens (B, prefix + h·w, D)."""
        patches = x[:, self.n_prefix :]
        return patches.transpose(1, 2).reshape(len(x), -1, *grid)

    def _with_positions(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Prefix tokens before (B, h·w, D) patches, and the absolute position code added."""
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
        """(B, 1, 1, prefix + h·w) to add to attention scores: 0, or -inf where a key is hidden."""
        hidden = nn.functional.pad(~visible.flatten(1), (self.n_prefix, 0), value=False)
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        return mask.masked_fill(hidden, -torch.inf)[:, None, None]


def create_backbone(config: SpatialEncoderConfig, *, pretrained: bool = False) -> Any:
    """The whole backbone, as timm makes it; random weights need no network.

    Raises:
        ModelError: timm has no such backbone, it is not a ViT or EVA, or its options do not fit.
    """
    name = config.model_name.removeprefix("hf-hub:").removeprefix("hf_hub:").removeprefix("timm/")
    if not timm.is_model(name):
        raise ModelError(
            f"timm knows no model '{config.model_name}': choose a ViT or EVA from its list."
        )
    options = {**config.model_kwargs, "dynamic_img_size": True}
    if options.get("patch_drop_rate"):
        raise ModelError("patch_drop_rate must be 0: every patch of the map is needed.")
    try:
        backbone = timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(
            f"timm cannot make '{config.model_name}' with the options {dict(config.model_kwargs)}: "
            f"{error}"
        ) from error
    if not isinstance(backbone, (Eva, VisionTransformer)):
        raise ModelError(
            f"'{config.model_name}' is neither a ViT nor an EVA: choose one of those from timm."
        )
    return backbone
