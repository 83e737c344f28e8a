"""The transformer block of the spectral encoder and of both predictors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with separate layers for queries, keys and values.

    Args:
        dim: D, channels.
        num_heads: divides `dim`.
        qkv_bias: whether queries, keys and values have a bias.
        proj_bias: whether the output layer has a bias.
        attn_drop: dropout of attention weights.
        proj_drop: dropout of the output.
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
        """Let every token of `x` (N, L, D) attend to all of `context` (N, M, D)."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.q(x)),
            self._heads(self.k(context)),
            self._heads(self.v(context)),
            dropout_p=self.attn_drop if self.training else 0.0,
        )
        attended = attended.transpose(1, 2).flatten(2)
        out: Tensor = self.proj_drop(self.proj(attended))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)


class LayerScale(nn.Module):
    """A learned factor per channel, small at first.

    Args:
        dim: D, channels.
        value: initial value.
    """

    def __init__(self, dim: int, value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., D)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block, for self- and for cross-attention.

    In cross-attention the first LayerNorm is applied to tokens and context alike.

    Args:
        dim: D, channels.
        num_heads: attention heads; divides `dim`.
        mlp_ratio: width of the hidden layer over `dim`.
        qkv_bias: whether queries, keys and values have a bias.
        proj_bias: whether the layer after the attention has a bias.
        ffn_bias: whether the layers of the MLP have a bias.
        layer_scale: initial value of LayerScale; None or 0 for none.
        norm_eps: of the LayerNorms.
        attn_drop: dropout of attention weights.
        proj_drop: dropout after the attention.
        drop: dropout in the MLP.
        drop_path: stochastic depth.
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
        """Refine the tokens `x` (N, L, D) from themselves, or from a `context` (N, M, D)."""
        normed = self.norm1(x)
        keys = normed if context is None else self.norm1(context)
        x = x + self.drop_path(self.ls1(self.attn(normed, keys)))
        x = x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))
        return x


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth of each block, rising linearly from 0 to `last`."""
    return [float(rate) for rate in torch.linspace(0, last, depth)]


def init_linear_layers(module: nn.Module) -> None:
    """Draw the weights of all linear layers from a normal cut at 2, sd 0.02; biases are 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
