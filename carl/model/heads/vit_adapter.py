"""ViT-Adapter: feature pyramid of four scales around the spatial encoder, which has one.

Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions"
(https://arxiv.org/abs/2205.08534). Convolutional detail tokens at three scales run beside the
blocks of the spatial encoder. Before each group of blocks they are injected into the patch tokens;
after the group, they are updated from the patch tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL, check_inputs, reflect_to_multiple
from carl.model.heads.factory import AdapterOptions

Grid = tuple[int, int]
"""Size (h, w) of a map."""
_NORM_GROUPS = 8
"""Groups of the GroupNorms; divides all channel numbers that `AdapterOptions` accepts."""


class ViTAdapter(nn.Module):
    """Adapter around the spatial encoder of a CARL network.

    The network is an argument of `forward` and not a submodule; `carl` here gives the dimensions.

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
        """Compute four maps (B, D, ·, ·), at 4, 2, 1 and 1/2 times the resolution of the patches.

        The arguments are those of `FeaturePyramid`.
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
    """Cross-attention that adds detail tokens to the patch tokens of D = `dim` channels."""

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
        """Update patch tokens (B, h·w, D) from the detail tokens (B, S, D) of three scales.

        `grid` is (h, w); `grids` are the sizes of the three scales, whose products add up to S.
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
    """Cross-attention and convolutional MLP that update the detail tokens from the patch tokens."""

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
        """Update the detail tokens (B, S, D) of three scales from patch tokens (B, h·w, D).

        `grids` are the sizes of the three scales, whose products add up to S; `grid` is (h, w).
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


class VirtualColours(nn.Module):
    """Projection of any number of bands to a fixed number of virtual colours.

    Each virtual colour has a learned spectral response function, which a small network computes
    from the wavelength encoding of E = `encoding_dim` channels. Images of all cameras are thus
    mapped to the same channels, at full resolution.
    """

    def __init__(self, encoding_dim: int, n_colours: int) -> None:
        super().__init__()
        self.sensitivity = nn.Sequential(
            nn.Linear(encoding_dim, encoding_dim), nn.GELU(), nn.Linear(encoding_dim, n_colours)
        )

    def forward(self, image: Tensor, encoding: Tensor) -> Tensor:
        """Compute (B, n_colours, H, W) colours of an image (B, C, H, W).

        The wavelength encoding is (B, C, E), or (1, C, E) where all images share it.
        """
        # colour_n(x) = 1/C Σ_c s_n(λ_c)·image_c(x), with the responses s_n.
        responses = self.sensitivity(encoding).expand(len(image), -1, -1)
        return torch.einsum("bchw,bcn->bnhw", image, responses) / image.shape[1]


class SpatialPrior(nn.Module):
    """Convolutional network that computes feature maps at four scales.

    The spatial prior module of Chen et al. 2023, with virtual colours in place of red,
    green and blue. The spectral features of D = `embed_dim` channels are added at the scale of the
    patches. The finest scale has `channels` channels, doubled at the next two scales.
    """

    def __init__(
        self, encoding_dim: int, embed_dim: int, channels: int = 64, n_colours: int = 16
    ) -> None:
        super().__init__()
        widths = (channels, 2 * channels, 4 * channels, 4 * channels)
        self.colours = VirtualColours(encoding_dim, n_colours)
        self.stem = nn.Sequential(_conv(n_colours, channels), _conv(channels, channels))
        self.down = nn.ModuleList(
            _conv(before, after, stride=2) for before, after in pairwise(widths)
        )
        self.spectral = nn.Conv2d(embed_dim, widths[2], 1)
        self.out = nn.ModuleList(nn.Conv2d(width, embed_dim, 1) for width in widths)

    def forward(self, image: Tensor, encoding: Tensor, spectral: Tensor) -> list[Tensor]:
        """Compute the feature maps of an image.

        Args:
            image: (B, C, h·P, w·P), padded to whole patches.
            encoding: (B, C, E) or (1, C, E) wavelength encoding.
            spectral: (B, D, h, w) spectral features.

        Returns:
            maps of D channels from fine to coarse: (4h, 4w), (2h, 2w), (h, w), (⌈h/2⌉, ⌈w/2⌉).
        """
        h, w = spectral.shape[-2:]
        colours = F.adaptive_avg_pool2d(self.colours(image, encoding), (4 * h, 4 * w))
        scales = [self.stem(colours)]
        for down in self.down:
            scales.append(down(scales[-1]))
            if len(scales) == 3:
                scales[-1] = scales[-1] + self.spectral(spectral)
        return [out(scale) for out, scale in zip(self.out, scales, strict=True)]


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention in plain PyTorch operations, without a compiled extension.

    Zhu et al. 2021, "Deformable DETR" (https://arxiv.org/abs/2010.04159). Each query attends to a
    few points around its own position, whose offsets and weights are linear functions of the query.

    Args:
        dim: D, channels of queries and maps.
        num_heads: M, number of attention heads.
        n_levels: number of maps.
        n_points: number of sampling points per head and map.
        ratio: channels of the values relative to `dim`.
    """

    def __init__(
        self, dim: int, num_heads: int, n_levels: int, n_points: int = 4, ratio: float = 1.0
    ) -> None:
        super().__init__()
        self.num_heads, self.n_levels, self.n_points = num_heads, n_levels, n_points
        self.width = num_heads * max(1, round(dim * ratio / num_heads))
        self.offsets = nn.Linear(dim, num_heads * n_levels * n_points * 2)
        self.weights = nn.Linear(dim, num_heads * n_levels * n_points)
        self.value = nn.Linear(dim, self.width)
        self.proj = nn.Linear(self.width, dim)
        self._init_weights()

    def forward(
        self, queries: Tensor, positions: Tensor, tokens: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Attend from every query to its sampling points.

        Args:
            queries: (B, L, D).
            positions: (L, 2), reference point (x, y) of each query; the maps span 0..1.
            tokens: (B, S, D), the maps one after the other, each row by row.
            grids: sizes (h, w) of the maps; the products add up to S.

        Returns:
            (B, L, D).
        """
        # Eq. 3 of the paper, for query q with reference point p, heads m, levels l, points k:
        # Σ_m W_m Σ_l Σ_k A_mlqk · W'_m x_l(p + Δp_mlqk), with softmax weights A over l and k.
        # W' is `value`, W is `proj`; the offsets Δp are predicted in pixels of each map.
        batch, length = queries.shape[:2]
        shape = (batch, length, self.num_heads, self.n_levels, self.n_points)
        sides = torch.tensor([(w, h) for h, w in grids], dtype=queries.dtype, device=queries.device)
        points = positions[:, None, None, None] + (
            self.offsets(queries).view(*shape, 2) / sides[:, None]
        )
        weights = self.weights(queries).view(*shape[:3], -1).softmax(-1).view(shape)
        values = self.value(tokens).view(batch, -1, self.num_heads, self.width // self.num_heads)
        attended: Tensor = self.proj(weighted_sample(values, grids, points, weights))
        return attended

    def _init_weights(self) -> None:
        """Initialise with equal weights and fixed offsets.

        As in the paper, head m points in the direction 2π·m/M and point k lies k pixels away.
        """
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions /= directions.abs().amax(-1, keepdim=True)
        distances = torch.arange(1.0, self.n_points + 1)
        offsets = directions[:, None, None] * distances[:, None]
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_(offsets.expand(-1, self.n_levels, -1, -1).flatten())
        for layer in (self.weights, self.value, self.proj):
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.weights.weight)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.xavier_uniform_(self.proj.weight)


def weighted_sample(
    values: Tensor, grids: Sequence[Grid], points: Tensor, weights: Tensor
) -> Tensor:
    """Compute weighted sums of map values at points, by bilinear interpolation.

    Values outside a map are zero.

    Args:
        values: (B, S, M, d), the maps one after the other, each row by row.
        grids: sizes (h, w) of the maps.
        points: (B, L, M, levels, points, 2) as (x, y); each map spans 0..1.
        weights: (B, L, M, levels, points).

    Returns:
        (B, L, M·d).
    """
    batch, length, heads = points.shape[:3]
    total = values.new_zeros(batch * heads, values.shape[-1], length)
    maps = torch.split(values, [h * w for h, w in grids], dim=1)
    for level, (tokens, (h, w)) in enumerate(zip(maps, grids, strict=True)):
        value_map = tokens.permute(0, 2, 3, 1).reshape(batch * heads, -1, h, w)
        level_points = points[:, :, :, level].transpose(1, 2).flatten(0, 1).to(value_map.dtype)
        sampled = F.grid_sample(value_map, 2 * level_points - 1, align_corners=False)
        level_weights = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]
        total = total + (sampled * level_weights).sum(-1)
    return total.view(batch, heads * total.shape[1], length).transpose(1, 2)


def grid_centres(grid: Grid, device: torch.device) -> Tensor:
    """Return the centres (x, y) of the cells of a map that spans 0..1, row by row, as (h·w, 2)."""
    y, x = ((torch.arange(n, device=device) + 0.5) / n for n in grid)
    return torch.stack([x.repeat(grid[0]), y.repeat_interleave(grid[1])], -1)


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


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Return 3 × 3 convolution, GroupNorm (independent of the batch, unlike BatchNorm) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.GroupNorm(_NORM_GROUPS, after),
        nn.ReLU(),
    )
