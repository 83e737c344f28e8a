"""The two predictors of self-supervision: of hidden bands and of hidden patches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from carl.model.blocks import TransformerBlock, drop_path_rates, init_linear_layers
from carl.model.config import SpatialPredictorConfig, SpectralPredictorConfig
from carl.model.spectral_encoder import sincos_1d
from carl.model.wavelength_encoding import WavelengthEncoding

_NORM_EPS = 1e-5


class SpectralPredictor(nn.Module):
    """Tells the band tokens of hidden bands from the queries of a patch and their wavelengths.

    Args:
        config: its sizes.
        embed_dim: D, channels of queries and of what is predicted.
        n_queries: K.
    """

    def __init__(self, config: SpectralPredictorConfig, embed_dim: int, n_queries: int) -> None:
        super().__init__()
        width = config.predictor_embed_dim
        self.embed = nn.Linear(embed_dim, width) if width != embed_dim else nn.Identity()
        self.queries_pos_enc = nn.Parameter(torch.empty(1, n_queries, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.wavelength_encoding = WavelengthEncoding(width, config.pos_enc_sigma)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                norm_eps=_NORM_EPS,
                drop=config.drop_rate,
                attn_drop=config.attn_drop_rate,
                drop_path=rate,
            )
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.proj = nn.Linear(width, embed_dim)
        init_linear_layers(self)
        for parameter in (self.queries_pos_enc, self.mask_token):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, queries: Tensor, wavelengths_um: Tensor, targets: Tensor) -> Tensor:
        """Predict band tokens.

        Args:
            queries: (N, K, D) of the student.
            wavelengths_um: (N, C) or (1, C) of all bands.
            targets: (T, N, d) indices of hidden bands; each of the T sets is predicted alone.

        Returns:
            (T·N, d, D), set after set.
        """
        context = self.embed(queries) + self.queries_pos_enc
        context = context.repeat(len(targets), 1, 1)
        hidden = targets.flatten(0, 1)
        table = wavelengths_um.expand(len(queries), -1).repeat(len(targets), 1)
        codes = self.wavelength_encoding(table.gather(1, hidden))
        x = self.mask_token + codes.to(context.dtype)
        for block in self.blocks:
            x = block(x, torch.cat([context, x], dim=1))
        predicted: Tensor = self.proj(self.norm(x))
        return predicted


class SpatialPredictor(nn.Module):
    """Tells the features of hidden patches from those of visible ones and their places.

    That of I-JEPA (Assran et al. 2023, "Self-supervised learning from images with a joint-embedding
    predictive architecture").

    Args:
        config: its sizes.
        embed_dim: D, channels of the features.
    """

    def __init__(self, config: SpatialPredictorConfig, embed_dim: int) -> None:
        super().__init__()
        width = config.predictor_embed_dim
        self.embed = nn.Linear(embed_dim, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                norm_eps=_NORM_EPS,
                drop_path=rate,
            )
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.proj = nn.Linear(width, embed_dim)
        init_linear_layers(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self._damp_deep_blocks()

    def forward(
        self, features: Tensor, context: Tensor, targets: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Predict patches.

        Args:
            features: (B, n, D) of the visible patches.
            context: (B, n) their indices in the grid, row after row.
            targets: (T, B, m) indices of hidden patches; each of the T sets is predicted alone.
            grid: (h, w), patches.

        Returns:
            (T·B, m, D), set after set.
        """
        visible = self.embed(features)
        places = sincos_2d(grid, visible.shape[2]).to(visible)
        visible = (visible + places[context]).repeat(len(targets), 1, 1)
        hidden = self.mask_token + places[targets.flatten(0, 1)]
        x = torch.cat([visible, hidden.to(visible.dtype)], dim=1)
        for block in self.blocks:
            x = block(x)
        predicted: Tensor = self.proj(self.norm(x)[:, visible.shape[1] :])
        return predicted

    @torch.no_grad()
    def _damp_deep_blocks(self) -> None:
        """Make what block i adds smaller by √(2i), so that depth does not raise the variance."""
        for number, block in enumerate(self.blocks, start=1):
            for name in ("attn.proj.weight", "mlp.fc2.weight"):
                block.get_parameter(name).div_(math.sqrt(2 * number))


def sincos_2d(grid: tuple[int, int], dim: int) -> Tensor:
    """Sine-cosine code of the places of a grid: (h·w, dim), the column's half, then the row's."""
    height, width = grid
    columns = sincos_1d(width, dim // 2).repeat(height, 1)
    rows = sincos_1d(height, dim // 2).repeat_interleave(width, dim=0)
    return torch.cat([columns, rows], dim=1)
