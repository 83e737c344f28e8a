"""ViT-Adapter: feature pyramid of four scales around the spatial encoder, which has one.

Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions"
(https://arxiv.org/abs/2205.08534). Convolutional detail tokens at three scales run beside the
blocks of the spatial encoder. Before each group of blocks they are injected into the patch tokens;
after the group, they are updated from the patch tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL, check_inputs, reflect_to_multiple
from carl.model.heads.deformable import DeformableAttention, Grid, grid_centres
from carl.model.heads.factory import AdapterOptions
from carl.model.heads.spatial_prior import SpatialPrior


class ViTAdapter(nn.Module):
    """Adapter around the spatial encoder of a CARL network.

    The CARL network is an argument of `forward` and not a submodule.

    Args:
        carl: a network with the dimensions of the one to adapt.
        options: options of the adapter.

    Attributes:
        channels: channels of the four maps.
    """

    def __init__(self, carl: CARL, options: AdapterOptions) -> None:
        super().__init__()
        dim = carl.embed_dim
        encoding_dim = carl.config.spec_encoder_kwargs.embed_dim
        n_groups = min(options.interactions, len(carl.spatial_encoder.blocks))
        self.channels = (dim,) * 4
        self.prior = SpatialPrior(encoding_dim, dim, options.channels, options.n_colours)
        self.level = nn.Parameter(torch.randn(3, dim) * 0.02)
        self.injectors = nn.ModuleList(Injector(dim, options) for _ in range(n_groups))
        # As in the paper, two more extractors follow the last group.
        self.extractors = nn.ModuleList(Extractor(dim, options) for _ in range(n_groups + 2))
        self.up = nn.ConvTranspose2d(dim, dim, 2, 2)
        self.norms = nn.ModuleList(nn.GroupNorm(1, dim) for _ in range(4))

    def forward(self, carl: CARL, image: Tensor, wavelengths_um: Tensor) -> list[Tensor]:
        """Compute features at four scales.

        Args:
            carl: the network.
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.

        Returns:
            maps (B, D, ·, ·) at 4, 2, 1 and 1/2 times the resolution of the h × w patches.
        """
        spectral = carl.spectral_features(image, wavelengths_um)
        encoder = carl.spatial_encoder
        grid: Grid = (spectral.shape[-2], spectral.shape[-1])
        encoding = carl.spectral_encoder.wavelength_encoding(check_inputs(image, wavelengths_um))
        fine, *scales = self.prior(reflect_to_multiple(image, carl.patch_size), encoding, spectral)

        grids: list[Grid] = [(each.shape[-2], each.shape[-1]) for each in scales]
        detail = torch.cat(
            [_to_tokens(each) + level for each, level in zip(scales, self.level, strict=True)],
            dim=1,
        )
        x = encoder.tokens(spectral)
        stages = []
        groups = _block_groups(len(encoder.blocks), len(self.injectors))
        for injector, extractor, blocks in zip(
            self.injectors, self.extractors, groups, strict=False
        ):
            prefix, patches = x[:, : encoder.n_prefix], x[:, encoder.n_prefix :]
            patches = injector(patches, detail, grid, grids)
            x = encoder.run_blocks(torch.cat([prefix, patches], dim=1), grid, blocks)
            detail = extractor(detail, x[:, encoder.n_prefix :], grids, grid)
            stages.append(encoder.to_map(x, grid))
        for extractor in self.extractors[len(groups) :]:
            detail = extractor(detail, x[:, encoder.n_prefix :], grids, grid)
        maps = _to_maps(detail, grids)
        return self._add_stages([fine + self.up(maps[0]), *maps], stages)

    def _add_stages(self, maps: Sequence[Tensor], stages: Sequence[Tensor]) -> list[Tensor]:
        """Add to each scale the patch features after one group of blocks, and normalise it."""
        last = len(stages) - 1
        return [
            norm(
                each
                + F.interpolate(
                    stages[min(i, last)], each.shape[-2:], mode="bilinear", align_corners=False
                )
            )
            for i, (each, norm) in enumerate(zip(maps, self.norms, strict=True))
        ]


class Injector(nn.Module):
    """Cross-attention that adds detail tokens to the patch tokens.

    Args:
        dim: D, number of channels.
        options: options of the adapter.
    """

    def __init__(self, dim: int, options: AdapterOptions) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(dim, eps=1e-6)
        self.norm_detail = nn.LayerNorm(dim, eps=1e-6)
        self.attention = DeformableAttention(
            dim, options.num_heads, 3, options.n_points, options.ratio
        )
        # Zero at first, so that an untrained adapter does not change the patch tokens.
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, patches: Tensor, detail: Tensor, grid: Grid, grids: Sequence[Grid]) -> Tensor:
        """Update the patch tokens.

        Args:
            patches: (B, h·w, D).
            detail: (B, S, D), detail tokens of three scales.
            grid: (h, w).
            grids: sizes of the three scales; the products add up to S.

        Returns:
            (B, h·w, D).
        """
        # ViT-Adapter, eq. 1: F_vit + γ·Attention(norm(F_vit), norm(F_sp)).
        attended = self.attention(
            self.norm_patches(patches),
            grid_centres(grid, patches.device),
            self.norm_detail(detail),
            grids,
        )
        updated: Tensor = patches + self.gamma * attended
        return updated


class Extractor(nn.Module):
    """Cross-attention and convolutional MLP that update the detail tokens from the patch tokens.

    Args:
        dim: D, number of channels.
        options: options of the adapter.
    """

    def __init__(self, dim: int, options: AdapterOptions) -> None:
        super().__init__()
        self.norm_detail = nn.LayerNorm(dim, eps=1e-6)
        self.norm_patches = nn.LayerNorm(dim, eps=1e-6)
        self.attention = DeformableAttention(
            dim, options.num_heads, 1, options.n_points, options.ratio
        )
        hidden = max(1, int(dim * options.mlp_ratio))
        self.norm_mlp = nn.LayerNorm(dim, eps=1e-6)
        self.widen = nn.Linear(dim, hidden)
        self.neighbours = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.narrow = nn.Linear(hidden, dim)

    def forward(self, detail: Tensor, patches: Tensor, grids: Sequence[Grid], grid: Grid) -> Tensor:
        """Update the detail tokens.

        Args:
            detail: (B, S, D), detail tokens of three scales.
            patches: (B, h·w, D).
            grids: sizes of the three scales; the products add up to S.
            grid: (h, w).

        Returns:
            (B, S, D).
        """
        # ViT-Adapter, eqs. 2 and 3: F = F_sp + Attention(norm(F_sp), norm(F_vit)), then
        # F + FFN(norm(F)), where the FFN has a depthwise convolution between its two layers.
        positions = torch.cat([grid_centres(each, detail.device) for each in grids])
        detail = detail + self.attention(
            self.norm_detail(detail), positions, self.norm_patches(patches), [grid]
        )
        hidden = self.widen(self.norm_mlp(detail))
        mixed = [_to_tokens(self.neighbours(each)) for each in _to_maps(hidden, grids)]
        updated: Tensor = detail + self.narrow(F.gelu(torch.cat(mixed, dim=1)))
        return updated


def _block_groups(n_blocks: int, n_groups: int) -> list[slice]:
    """Divide block indices into groups of about equal size."""
    ends = [round(n_blocks * (i + 1) / n_groups) for i in range(n_groups)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _to_tokens(feature_map: Tensor) -> Tensor:
    """Flatten a map (B, D, h, w) to tokens (B, h·w, D)."""
    return feature_map.flatten(2).transpose(1, 2)


def _to_maps(tokens: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """Split tokens (B, S, D) into maps (B, D, h, w), the inverse of `_to_tokens` and `cat`."""
    scales = torch.split(tokens, [h * w for h, w in grids], dim=1)
    return [
        scale.transpose(1, 2).reshape(len(tokens), -1, *grid)
        for scale, grid in zip(scales, grids, strict=True)
    ]
