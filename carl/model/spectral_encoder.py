"""The spectral encoder: from the bands of a patch, however many, to a fixed set of queries."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from carl.model.blocks import Block, drop_path_rates, init_linear_layers
from carl.model.config import SpectralEncoderConfig
from carl.model.wavelength_encoding import WavelengthEncoding


class SpectralOutput(NamedTuple):
    """What the spectral encoder makes of N patches.

    Attributes:
        queries: (N, K, D), independent of the camera.
        tokens: (N, C, D), one per band that was seen.
    """

    queries: Tensor
    tokens: Tensor


class SpectralEncoder(nn.Module):
    """Blocks that alternate between the bands among themselves and queries that read the bands.

    Args:
        config: its sizes.
    """

    queries_pos_enc: Tensor

    def __init__(self, config: SpectralEncoderConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.wavelength_encoding = WavelengthEncoding(dim, config.pos_enc_sigma)
        self.queries = nn.Parameter(torch.empty(1, config.n_queries, dim))
        self.register_buffer("queries_pos_enc", sincos_1d(config.n_queries, dim)[None])
        rates = drop_path_rates(config.drop_path_rate, config.depth)
        if config.drop_path_uniform:
            rates = [config.drop_path_rate] * config.depth
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.num_heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                proj_bias=config.proj_bias,
                ffn_bias=config.ffn_bias,
                layer_scale=config.layer_scale,
                attn_drop=config.attn_drop,
                proj_drop=config.proj_drop,
                drop=config.drop,
                drop_path=rate,
            )
            for rate in rates
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        nn.init.trunc_normal_(self.queries, std=0.02)
        init_linear_layers(self)

    def forward(
        self, tokens: Tensor, encoding: Tensor, bands: Tensor | None = None
    ) -> SpectralOutput:
        """Encode patches.

        Args:
            tokens: (N, C, D), one per band.
            encoding: (N, C, D) wavelength encoding of the bands, or (1, C, D) for all patches.
            bands: (N, C') indices of the bands each patch may see; all by default.

        Returns:
            queries (N, K, D) and tokens (N, C', D).
        """
        tokens = tokens + encoding.to(tokens.dtype)
        if bands is not None:
            tokens = take_tokens(tokens, bands)
        queries = (self.queries + self.queries_pos_enc).expand(len(tokens), -1, -1)
        for index, block in enumerate(self.blocks):
            if index % 2 == 0:
                tokens = block(tokens)
            else:
                queries = block(queries, tokens)
        return SpectralOutput(self.norm(queries), tokens)


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Some tokens of each sequence: (N, L, D) at (N, L') gives (N, L', D)."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[2]))


def sincos_1d(n_positions: int, dim: int) -> Tensor:
    """Sine-cosine code of positions 0, 1, 2, ... (n_positions, dim): all sines, then all cosines.

    The frequencies fall from 1 to nearly 1/10000 (Vaswani et al. 2017, "Attention is all you
    need").
    """
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    phase = torch.arange(n_positions, dtype=torch.float64)[:, None] * frequencies
    return torch.cat((phase.sin(), phase.cos()), dim=1).float()
