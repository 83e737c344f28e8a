"""Spectral encoder: from any number of band tokens per patch to K queries and their readout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from carl.model.blocks import TransformerBlock, drop_path_rates, init_linear_layers
from carl.model.config import SpectralEncoderConfig


class WavelengthEncoding(nn.Module):
    """Positional encoding of wavelengths by random Fourier features.

    Fourier features after Tancik et al. 2020 (https://arxiv.org/abs/2006.10739), as used by CARL
    (https://arxiv.org/abs/2504.19223). The frequencies are a buffer saved with the
    weights. New ones are drawn from a private generator with seed 0, so that separately built
    networks share them.

    Args:
        dim: D, number of channels; must be even.
        sigma: σ, standard deviation of the frequencies in cycles per µm; 0 disables the encoding
            (all zeros).
    """

    frequencies: Tensor

    def __init__(self, dim: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        # b_i = 2π·σ·n_i with n_i ~ N(0, 1), one for each pair of channels (2i, 2i + 1).
        normal = torch.randn(dim // 2, generator=torch.Generator().manual_seed(0), device="cpu")
        frequencies = 2 * math.pi * (normal * sigma)
        self.register_buffer("frequencies", frequencies.repeat_interleave(2))

    def forward(self, wavelengths_um: Tensor) -> Tensor:
        """Encode wavelengths (...) in µm as (..., D) float32, in networks of any precision."""
        phase = wavelengths_um.float()[..., None] * self.frequencies
        if self.sigma == 0:
            return torch.zeros_like(phase)
        # Channel 2i is sin(λ·b_i), channel 2i + 1 is cos(λ·b_i).
        return torch.stack((phase[..., 0::2].sin(), phase[..., 1::2].cos()), dim=-1).flatten(-2)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> WavelengthEncoding:
        # Phases reach hundreds of radians, where half precision resolves no angle. Therefore
        # `to`, `half` and similar calls move the frequencies to the device but keep float32.
        exact = self.frequencies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.frequencies = exact.to(self.frequencies.device)
        return self


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


class Readout(nn.Module):
    """Aggregation of the queries q_1 … q_K of each patch.

    The kinds are those of the ablation in the CARL paper (https://arxiv.org/abs/2504.19223):

    - ``"sum"``: Σ_k q_k
    - ``"concat"``: q_1, …, q_K side by side
    - ``"max"``: maximum over k per channel
    - ``"attention"``: Σ_k a_k q_k with a = softmax_k(w·q_k + b) and learned w, b

    Args:
        kind: ``"sum"``, ``"concat"``, ``"max"`` or ``"attention"``.
        n_queries: K.
        dim: D, channels of a query.

    Attributes:
        out_dim: channels of the result: K·D for ``"concat"``, otherwise D.
    """

    def __init__(self, kind: str, n_queries: int, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.out_dim = n_queries * dim if kind == "concat" else dim
        self.score = nn.Linear(dim, 1) if kind == "attention" else None

    def forward(self, queries: Tensor) -> Tensor:
        """Aggregate queries (N, K, D) to vectors (N, out_dim)."""
        if self.score is not None:
            weights: Tensor = self.score(queries).softmax(dim=1)
            return (weights * queries).sum(dim=1)
        if self.kind == "concat":
            return queries.flatten(1)
        if self.kind == "max":
            return torch.amax(queries, dim=1)
        return queries.sum(dim=1)


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Select (N, L', D) tokens at the positions (N, L') of each sequence of (N, L, D) tokens."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[2]))


def sincos_1d(n_positions: int, dim: int) -> Tensor:
    """Compute the fixed sine-cosine encoding (n_positions, D) of the positions from 0, float32.

    Vaswani et al. 2017, "Attention Is All You Need" (https://arxiv.org/abs/1706.03762), section
    3.5, with all sines before all cosines; D must be even.
    """
    # ω_i = 10000^(-2i/D); channel i is sin(p·ω_i), channel D/2 + i is cos(p·ω_i).
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    phase = torch.arange(n_positions, dtype=torch.float64)[:, None] * frequencies
    return torch.cat((phase.sin(), phase.cos()), dim=1).float()
