"""Multi-scale deformable attention in plain PyTorch operations, without a compiled extension.

Zhu et al. 2021, "Deformable DETR" (https://arxiv.org/abs/2010.04159). Each query attends to a few
points around its own position, whose offsets and weights are linear functions of the query.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]
"""Size (h, w) of a map."""


class DeformableAttention(nn.Module):
    """Deformable attention from queries to one or several maps.

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
        # Deformable DETR, eq. 3, for query q with reference point p, heads m, levels l, points k:
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

        As in Deformable DETR, head m points in the direction 2π·m/M and point k lies k pixels away.
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
