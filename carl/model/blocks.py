"""Transformer block of the spectral encoder and of both predictors of the self-supervision."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with separate linear layers for queries, keys and values.

    Per head, softmax(Q·Kᵀ / √d)·V with d = D / num_heads (Vaswani et al. 2017, "Attention Is All
    You Need", https://arxiv.org/abs/1706.03762, eq. 1). The arguments are those of
    `TransformerBlock`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.k = nn.Linear(dim, dim, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Attend from tokens (N, L, D) to tokens (N, M, D) of a context: (N, L, D).

        The context is the source of the keys and values; `x` itself for self-attention.
        """
        attended = F.scaled_dot_product_attention(
            self._split_heads(self.q(x)),
            self._split_heads(self.k(context)),
            self._split_heads(self.v(context)),
            dropout_p=self.attn_drop if self.training else 0.0,
        )
        attended = attended.transpose(1, 2).flatten(2)
        out: Tensor = self.proj_drop(self.proj(attended))
        return out

    def _split_heads(self, x: Tensor) -> Tensor:
        """Reshape (N, L, D) to (N, num_heads, L, D / num_heads)."""
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


class LayerScale(nn.Module):
    """Learned factor per channel of a residual branch, initially `value`.

    Touvron et al. 2021, "Going deeper with Image Transformers" (https://arxiv.org/abs/2103.17239).
    """

    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each channel of (..., D) by its factor."""
        return x * self.gamma


class TransformerBlock(nn.Module):
    """Pre-norm transformer block for self-attention and cross-attention.

    In cross-attention the first LayerNorm is applied to both the tokens and the context, as in the
    original CARL implementation.

    Args:
        dim: D, number of channels.
        norm_eps: epsilon of the LayerNorms.
        drop_path: rate of stochastic depth.

    The other arguments are those of `carl.model.config.SpectralEncoderConfig`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        proj_bias: bool = True,
        ffn_bias: bool = True,
        layer_scale: float | None = None,
        norm_eps: float = 1e-6,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(
            dim,
            num_heads,
            qkv_bias=qkv_bias,
            proj_bias=proj_bias,
            attn_drop=attn_drop,
            proj_drop=proj_drop,
        )
        self.ls1 = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=nn.GELU, bias=ffn_bias, drop=drop)
        self.ls2 = LayerScale(dim, layer_scale) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Apply attention and MLP to tokens (N, L, D), each with a residual connection.

        The tokens attend to a context (N, M, D), or to themselves if it is None.
        """
        normed = self.norm1(x)
        keys = normed if context is None else self.norm1(context)
        x = x + self.drop_path(self.ls1(self.attn(normed, keys)))
        x = x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
        return x


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return the stochastic depth rate of each block, rising linearly from 0 to `last`.

    Huang et al. 2016, "Deep Networks with Stochastic Depth" (https://arxiv.org/abs/1603.09382).
    """
    return [float(rate) for rate in torch.linspace(0, last, depth, device="cpu")]


def init_linear_layers(module: nn.Module) -> None:
    """Initialise all linear layers in place: truncated normal weights (sd 0.02), zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
