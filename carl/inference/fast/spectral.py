"""Spectral encoder with everything folded that does not depend on the pixels.

It computes the same function as the spectral half of `carl.model.CARL` with fewer operations:

- Scale γ and shift β of a LayerNorm become part of the linear layer after it:
  W (γ ⊙ x̂ + β) + b = (W diag γ) x̂ + (W β + b), with x̂ = (x − mean) / std.
- LayerScale s becomes part of the linear layer before it: s ⊙ (W x + b) = (diag s · W) x + s ⊙ b.
- Queries, keys and values of self-attention come from one linear layer.
- In cross-attention, no key or value is computed for the many tokens; the layers act on the few
  queries instead: the score is q·(K x̂) = (Kᵀ q)·x̂, and the output V Σ a x̂ = Σ a (V x̂), with
  attention weights a. The bias of the keys adds the same to all scores of a query, which softmax
  ignores. This is the weight absorption of DeepSeek-AI 2024, "DeepSeek-V2", section 2.1.
- A last self-attention whose tokens no query attends to is omitted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.inference.backend import ComputeBudget, full_budget
from carl.inference.fast.attention import attend
from carl.inference.fast.linear import PackedLinear
from carl.model import CARL
from carl.model.blocks import TransformerBlock

MakeLinear = Callable[[Tensor, Tensor], PackedLinear]
"""Makes a linear layer of a weight (out, in) and a bias (out,)."""

_EPS = 1e-6
"""Epsilon of the LayerNorms of the spectral encoder."""


class FoldedSpectralEncoder(nn.Module):
    """Patch embedding, spectral encoder and readout of a network.

    It holds copies of the weights; after a change of the network it has to be made again.

    Args:
        model: on its device, in eval mode.
        dtype: to compute in. The readout is always computed in float32.
    """

    _queries: Tensor

    @torch.no_grad()
    def __init__(self, model: CARL, dtype: torch.dtype) -> None:
        super().__init__()
        encoder = model.spectral_encoder
        self._dtype = dtype
        self._full_budget = full_budget(model)
        self._wavelength_encoding = encoder.wavelength_encoding
        linear = partial(PackedLinear, dtype=dtype)
        self._embed = linear(model.patch_embedding.weight.flatten(1), model.patch_embedding.bias)
        n_blocks = 2 * self._full_budget.pairs
        blocks = cast(list[TransformerBlock], list(encoder.blocks))[:n_blocks]
        self._self_blocks = nn.ModuleList(_SelfBlock(each, linear) for each in blocks[::2])
        self._cross_blocks = nn.ModuleList(_CrossBlock(each, linear) for each in blocks[1::2])
        queries = (encoder.queries + encoder.queries_pos_enc)[0]
        self.register_buffer("_queries", queries.detach().to(dtype))
        self._norm = encoder.norm
        self._readout = model.readout
        connector = model.connector
        self._connect = PackedLinear(connector.weight, connector.bias, torch.float32)

    def forward(
        self, strip: Tensor, wavelengths_um: Tensor, budget: ComputeBudget | None = None
    ) -> Tensor:
        """Compute the features of patches.

        Args:
            strip: (C, P, n·P) patches side by side.
            wavelengths_um: (C,) in µm.
            budget: part of the encoder to run; None for all of it.

        Returns:
            (n, D) float32.
        """
        n_bands, size, _ = strip.shape
        patches = strip.view(n_bands, size, -1, size).permute(2, 0, 1, 3)
        n_patches = len(patches)
        tokens = self._embed(patches.reshape(-1, size * size))
        encoding: Tensor = self._wavelength_encoding(wavelengths_um)
        tokens.view(-1, n_bands, tokens.shape[1]).add_(encoding.to(self._dtype))
        n_pairs, n_queries = budget or self._full_budget
        # (K, D): the same for all patches until they have attended to the tokens.
        queries = self._queries[:: len(self._queries) // n_queries][:n_queries]
        normed = _normalise(tokens)
        for self_block, cross_block in zip(
            self._self_blocks[:n_pairs], self._cross_blocks[:n_pairs], strict=True
        ):
            tokens = self_block(tokens, normed, n_bands)
            normed = _normalise(tokens)  # used by this cross-attention and the next self-attention
            queries = cross_block(queries, normed, n_bands, n_queries)
        if not self._self_blocks:
            queries = queries.repeat(n_patches, 1)
        read = self._norm(queries.float()).view(n_patches, -1, queries.shape[1])
        gathered = self._readout(read)
        features: Tensor = self._connect(F.layer_norm(gathered, gathered.shape[-1:]))
        return features


class _FeedForward(nn.Module):
    """MLP of a block, with the LayerNorm before and the LayerScale after it."""

    def __init__(self, block: TransformerBlock, linear: MakeLinear) -> None:
        super().__init__()
        up, down = cast(nn.Linear, block.mlp.fc1), cast(nn.Linear, block.mlp.fc2)
        self._up = linear(*_fold_norm(block.norm2, up))
        self._down = linear(*_fold_scale(down, block.ls2))

    def forward(self, x: Tensor) -> Tensor:
        return self._down.add_to(x, self._up.gelu(_normalise(x)))


class _SelfBlock(nn.Module):
    """Block with self-attention of the band tokens of a patch."""

    def __init__(self, block: TransformerBlock, linear: MakeLinear) -> None:
        super().__init__()
        attention = block.attn
        self._heads = attention.num_heads
        layers = [_fold_norm(block.norm1, each) for each in (attention.q, attention.k, attention.v)]
        weights, biases = zip(*layers, strict=True)
        self._qkv = linear(torch.cat(weights), torch.cat(biases))
        self._proj = linear(*_fold_scale(attention.proj, block.ls1))
        self._feed_forward = _FeedForward(block, linear)

    def forward(self, tokens: Tensor, normed: Tensor, n_bands: int) -> Tensor:
        """Transform tokens (n·C, D), which are also given normalised: (n·C, D)."""
        head_dim = tokens.shape[1] // self._heads
        qkv = self._qkv(normed).view(-1, n_bands, 3, self._heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = attend(q, k, v, head_dim**-0.5)
        tokens = self._proj.add_to(tokens, attended.transpose(1, 2).reshape(tokens.shape))
        transformed: Tensor = self._feed_forward(tokens)
        return transformed


class _CrossBlock(nn.Module):
    """Block in which queries attend to the tokens, with K and V folded into the queries' layers."""

    _key_weight: Tensor
    _value_weight: Tensor

    def __init__(self, block: TransformerBlock, linear: MakeLinear) -> None:
        super().__init__()
        attention = block.attn
        self._heads = heads = attention.num_heads
        self._scale = (attention.q.out_features // heads) ** -0.5
        self._query = linear(*_fold_norm(block.norm1, attention.q))
        keys, _ = _fold_norm(block.norm1, attention.k)
        values, values_bias = _fold_norm(block.norm1, attention.v)
        dtype = self._query.dtype
        by_head = (heads, -1, attention.q.in_features)
        self.register_buffer("_key_weight", keys.view(by_head).to(dtype))
        self.register_buffer("_value_weight", values.view(by_head).mT.to(dtype).contiguous())
        # The weights of a query add up to 1, so the bias of the values is a constant of the output:
        # W_out (V Σ a x̂ + b_v) + b_out = W_out V Σ a x̂ + (W_out b_v + b_out).
        out, out_bias = _fold_scale(attention.proj, block.ls1)
        self._proj = linear(out, out_bias + out @ values_bias)
        self._feed_forward = _FeedForward(block, linear)

    def forward(self, queries: Tensor, normed: Tensor, n_bands: int, n_queries: int) -> Tensor:
        """Let queries attend to the tokens of their patch.

        Args:
            queries: (n·K, D), or (K, D) if they are the same for all patches.
            normed: (n·C, D) normalised tokens.
            n_bands: C.
            n_queries: K.

        Returns:
            (n·K, D).
        """
        n_patches, dim = len(normed) // n_bands, normed.shape[1]
        context = normed.view(n_patches, 1, n_bands, dim)
        q = self._query(_normalise(queries)).view(-1, self._heads, dim // self._heads)
        q = torch.bmm(q.transpose(0, 1), self._key_weight)  # Kᵀ q of each head: (H, ·, D)
        q = q.view(self._heads, -1, n_queries, dim).transpose(0, 1)
        q = q.reshape(-1, 1, self._heads * n_queries, dim).expand(n_patches, -1, -1, -1)
        mixed = attend(q, context, context, self._scale)  # Σ a x̂ of each head and query
        mixed = mixed.view(n_patches, self._heads, n_queries, dim).transpose(0, 1)
        attended = torch.bmm(mixed.reshape(self._heads, -1, dim), self._value_weight)
        attended = attended.transpose(0, 1).reshape(-1, dim)
        if len(queries) < len(attended):
            queries = queries.repeat(n_patches, 1)
        transformed: Tensor = self._feed_forward(self._proj.add_to(queries, attended))
        return transformed


def _normalise(x: Tensor) -> Tensor:
    """Return x̂, the LayerNorm of x without scale and shift."""
    return F.layer_norm(x, x.shape[-1:], eps=_EPS)


def _fold_norm(norm: nn.LayerNorm, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return weight W diag γ and bias W β + b of a linear layer after a LayerNorm."""
    shift = layer.weight @ norm.bias
    return layer.weight * norm.weight, shift if layer.bias is None else shift + layer.bias


def _fold_scale(layer: nn.Linear, scale: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight diag s · W and bias s ⊙ b of a linear layer before a LayerScale, if any."""
    bias = torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias
    gamma = getattr(scale, "gamma", None)
    if gamma is None:
        return layer.weight, bias
    return layer.weight * gamma[:, None], bias * gamma
