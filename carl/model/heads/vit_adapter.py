"""ViT-Adapter: four scales of features from CARL, whose own map has one.

Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions"
(https://arxiv.org/abs/2205.08534). Beside the blocks of the spatial encoder runs a stream of tokens
at three scales. Before each group of blocks its detail is injected into the patches, after the
group it extracts from them what they have learned of the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL, check_inputs, reflect_to_multiple
from carl.model.heads.deformable import DeformableAttention, Grid, centres
from carl.model.heads.options import AdapterOptions
from carl.model.heads.spatial_prior import SpatialPrior


class ViTAdapter(nn.Module):
    """The adapter around a CARL network, which it does not own.

    Args:
        carl: whose features it adapts.
        options: its sizes.

    Attributes:
        channels: of the four maps.
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
        # Two more extractions follow the last group, as in the paper.
        self.extractors = nn.ModuleList(Extractor(dim, options) for _ in range(n_groups + 2))
        self.up = nn.ConvTranspose2d(dim, dim, 2, 2)
        self.norms = nn.ModuleList(nn.GroupNorm(1, dim) for _ in range(4))

    def forward(self, carl: CARL, image: Tensor, wavelengths_um: Tensor) -> list[Tensor]:
        """Features at four scales.

        Args:
            carl: the network.
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.

        Returns:
            maps (B, D, ·, ·) from fine to coarse: four times as fine as the h × w patches, twice as
            fine, as fine, and half as fine.
        """
        spectral = carl.spectral_features(image, wavelengths_um)
        encoder = carl.spatial_encoder
        grid: Grid = (spectral.shape[-2], spectral.shape[-1])
        encoding = carl.spectral_encoder.wavelength_encoding(check_inputs(image, wavelengths_um))
        fine, *scales = self.prior(reflect_to_multiple(image, carl.patch_size), encoding, spectral)

        grids: list[Grid] = [(each.shape[-2], each.shape[-1]) for each in scales]
        detail = torch.cat(
            [_flat(each) + level for each, level in zip(scales, self.level, strict=True)], dim=1
        )
        x = encoder.tokens(spectral)
        stages = []
        groups = _groups(len(encoder.blocks), len(self.injectors))
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
        maps = _maps(detail, grids)
        return self._gather([fine + self.up(maps[0]), *maps], stages)

    def _gather(self, maps: Sequence[Tensor], stages: Sequence[Tensor]) -> list[Tensor]:
        """Add what the patches were after a group of blocks to each scale, and normalise it."""
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
    """Patches that look at the finer and coarser tokens beside them; at first they see nothing.

    Args:
        dim: D, channels.
        options: of the adapter.
    """

    def __init__(self, dim: int, options: AdapterOptions) -> None:
        super().__init__()
        self.norm_patches = nn.LayerNorm(dim, eps=1e-6)
        self.norm_detail = nn.LayerNorm(dim, eps=1e-6)
        self.attention = DeformableAttention(
            dim, options.num_heads, 3, options.n_points, options.ratio
        )
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, patches: Tensor, detail: Tensor, grid: Grid, grids: Sequence[Grid]) -> Tensor:
        """Refine (B, h·w, D) patches by (B, S, D) tokens of three scales."""
        seen = self.attention(
            self.norm_patches(patches),
            centres(grid, patches.device),
            self.norm_detail(detail),
            grids,
        )
        refined: Tensor = patches + self.gamma * seen
        return refined


class Extractor(nn.Module):
    """Tokens of three scales that look at the patches, and then at their neighbours.

    Args:
        dim: D, channels.
        options: of the adapter.
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
        """Refine (B, S, D) tokens of three scales by (B, h·w, D) patches."""
        positions = torch.cat([centres(each, detail.device) for each in grids])
        detail = detail + self.attention(
            self.norm_detail(detail), positions, self.norm_patches(patches), [grid]
        )
        hidden = self.widen(self.norm_mlp(detail))
        mixed = [_flat(self.neighbours(each)) for each in _maps(hidden, grids)]
        refined: Tensor = detail + self.narrow(F.gelu(torch.cat(mixed, dim=1)))
        return refined


def _groups(n_blocks: int, n_groups: int) -> list[slice]:
    """The blocks in groups of about the same size."""
    ends = [round(n_blocks * (i + 1) / n_groups) for i in range(n_groups)]
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _flat(feature_map: Tensor) -> Tensor:
    """(B, D, h, w) as tokens (B, h·w, D)."""
    return feature_map.flatten(2).transpose(1, 2)


def _maps(tokens: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """Tokens (B, S, D) as the maps (B, D, h, w) they were."""
    parts = torch.split(tokens, [h * w for h, w in grids], dim=1)
    return [
        part.transpose(1, 2).reshape(len(tokens), -1, *grid)
        for part, grid in zip(parts, grids, strict=True)
    ]
