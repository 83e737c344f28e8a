"""Spectral encoder: from any number of band tokens per patch to K query vectors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from carl.model.blocks import TransformerBlock, drop_path_rates, init_linear_layers
from carl.model.config import SpectralEncoderConfig
from carl.model.wavelength_encoding import WavelengthEncoding


class SpectralOutput(NamedTuple):
    """Output of the spectral encoder for N patches.

    Attributes:
        queries: (N, K, D) camera-agnostic representation.
        tokens: (N, C, D) final band tokens, before any norm.
    """

    queries: Tensor
    tokens: Tensor


class SpectralEncoder(nn.Module):
    """Transformer of alternating self-attention and cross-attention blocks.

    Blocks 0, 2, … are self-attention among the band tokens; in blocks 1, 3, … the learned queries
    attend to the band tokens, as in CARL (https://arxiv.org/abs/2504.19223).

    Args:
        config: dimensions of the encoder.
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
            TransformerBlock(
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
        """Encode the band tokens of N patches.

        Args:
            tokens: (N, C, D), one token per band.
            encoding: (N, C, D) wavelength encoding per patch, or (1, C, D) shared by all patches.
            bands: (N, C') indices of the bands used for each patch; all by default.

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
    """Select tokens of each sequence.

    Args:
        tokens: (N, L, D).
        indices: (N, L') positions in the sequence.

    Returns:
        (N, L', D), in the order of `indices`.
    """
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[2]))


def sincos_1d(n_positions: int, dim: int) -> Tensor:
    """Compute the fixed sine-cosine encoding of the positions 0 to n_positions - 1.

    Vaswani et al. 2017, "Attention Is All You Need" (https://arxiv.org/abs/1706.03762), section
    3.5, with all sines before all cosines.

    Args:
        n_positions: number of positions.
        dim: D, number of channels; must be even.

    Returns:
        (n_positions, D) float32.
    """
    # ω_i = 10000^(-2i/D); channel i is sin(p·ω_i), channel D/2 + i is cos(p·ω_i).
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    phase = torch.arange(n_positions, dtype=torch.float64)[:, None] * frequencies
    return torch.cat((phase.sin(), phase.cos()), dim=1).float()
