"""The spectral half of a network, rewritten for speed: the same numbers by fewer operations.

Everything that does not depend on the pixels is done once:

- scale and shift of each LayerNorm, and LayerScale, become part of the linear layers beside them;
- queries, keys and values of the tokens come from one layer;
- where queries read tokens, no key or value is computed for any token. With tokens x, a score is
  q·(K x) = (Kᵀ q)·x and an output is V Σ a x, so that the layers act on the few queries and not on
  the many bands. A constant added to all scores changes nothing, so the bias of the keys is gone;
- a last self-attention that no query reads is not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.inference.attention import attend
from carl.inference.packed import PackedLinear
from carl.model import CARL
from carl.model.blocks import TransformerBlock


class ComputeBudget(NamedTuple):
    """How much of a spectral encoder to run.

    Attributes:
        pairs: of self- and cross-attention.
        queries: of them all, evenly chosen.
    """

    pairs: int
    queries: int


def full_budget(model: CARL) -> ComputeBudget:
    """All that there is to run of a network."""
    config = model.config.spec_encoder_kwargs
    return ComputeBudget(config.depth // 2, config.n_queries)


Linear = Callable[[Tensor, Tensor], PackedLinear]
"""Makes a layer of a weight and a bias."""

_EPS = 1e-6
"""Of the LayerNorms of the spectral encoder."""


class FoldedSpectral(nn.Module):
    """From patches to the features of each patch alone, as `CARL.spectral_features`.

    Args:
        model: on its device, in eval mode. When its weights change, this has to be made anew.
        dtype: to compute in; the readout is always done in float32.
        packs: whether its layers pack their weights, see `PackedLinear`.
    """

    _queries: Tensor

    @torch.no_grad()
    def __init__(self, model: CARL, dtype: torch.dtype, *, packs: bool = True) -> None:
        super().__init__()
        encoder = model.spectral_encoder
        self.dtype = dtype
        self.patch_size = model.patch_size
        self._encoding = encoder.wavelength_encoding
        patch_weight = model.patch_embedding.weight.flatten(1)
        linear = partial(PackedLinear, dtype=dtype, packs=packs)
        self._embed = linear(patch_weight, model.patch_embedding.bias)
        blocks = cast(list[TransformerBlock], list(encoder.blocks))
        if len(blocks) % 2:
            del blocks[-1]
        self._own = nn.ModuleList(_SelfBlock(block, linear) for block in blocks[::2])
        self._cross = nn.ModuleList(_CrossBlock(block, linear) for block in blocks[1::2])
        queries = (encoder.queries + encoder.queries_pos_enc)[0]
        self.register_buffer("_queries", queries.detach().to(dtype))
        self._norm = encoder.norm
        self._readout = model.readout
        self._connect = PackedLinear(
            model.connector.weight, model.connector.bias, torch.float32, packs=packs
        )

    def encode(self, wavelengths_um: Tensor) -> Tensor:
        """(C,) in µm to the code (C, D) that `__call__` takes."""
        code: Tensor = self._encoding(wavelengths_um)
        return code.to(self.dtype)

    def forward(self, strip: Tensor, code: Tensor, budget: ComputeBudget | None = None) -> Tensor:
        """Features of patches.

        Args:
            strip: (C, P, n·P) patches side by side.
            code: (C, D) of its bands.
            budget: how much to run; all by default.

        Returns:
            (n, D) float32.
        """
        n_bands, size, _ = strip.shape
        patches = strip.view(n_bands, size, -1, size).permute(2, 0, 1, 3)
        tokens = self._embed(patches.reshape(-1, size * size))
        tokens.view(-1, n_bands, tokens.shape[1]).add_(code)
        n_pairs, n_queries = budget or (len(self._cross), len(self._queries))
        # Queries never meet each other, so that some can be left out; they are the same for all
        # patches until they have read.
        queries = self._queries[:: len(self._queries) // n_queries][:n_queries]
        normed = _normed(tokens)
        for own, cross in zip(self._own[:n_pairs], self._cross[:n_pairs], strict=True):
            tokens = own(tokens, normed, n_bands)
            normed = _normed(tokens)
            queries = cross(queries, normed, n_bands, n_queries)
        if not self._own:
            queries = queries.repeat(len(patches), 1)
        read = self._norm(queries.float()).view(len(patches), -1, queries.shape[1])
        gathered = self._readout(read)
        features: Tensor = self._connect(F.layer_norm(gathered, gathered.shape[-1:]))
        return features


class _FeedForward(nn.Module):
    """Both layers of a block's MLP, with its LayerNorm and its LayerScale."""

    def __init__(self, block: TransformerBlock, linear: Linear) -> None:
        super().__init__()
        up, down = cast(nn.Linear, block.mlp.fc1), cast(nn.Linear, block.mlp.fc2)
        self._up = _after_norm(block.norm2, up, linear)
        self._down = _scaled(down, block.ls2, linear)

    def forward(self, x: Tensor) -> Tensor:
        return self._down.added_to(x, self._up.gelu(_normed(x)))


class _SelfBlock(nn.Module):
    """Tokens among themselves."""

    def __init__(self, block: TransformerBlock, linear: Linear) -> None:
        super().__init__()
        attention = block.attn
        self._heads = attention.num_heads
        layers = [_folded(block.norm1, each) for each in (attention.q, attention.k, attention.v)]
        weights, biases = zip(*layers, strict=True)
        self._qkv = linear(torch.cat(weights), torch.cat(biases))
        self._proj = _scaled(attention.proj, block.ls1, linear)
        self._feed_forward = _FeedForward(block, linear)

    def forward(self, tokens: Tensor, normed: Tensor, n_bands: int) -> Tensor:
        """Tokens (n·C, D), which are given normalised, too, to the same."""
        qkv = self._qkv(normed).view(-1, n_bands, 3, self._heads, self._head_dim(tokens))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, self._head_dim(tokens) ** -0.5)
        tokens = self._proj.added_to(tokens, mixed.transpose(1, 2).reshape(tokens.shape))
        refined: Tensor = self._feed_forward(tokens)
        return refined

    def _head_dim(self, tokens: Tensor) -> int:
        return tokens.shape[1] // self._heads


class _CrossBlock(nn.Module):
    """Queries that read the tokens: one set of keys and values, the tokens, for all heads."""

    _to_tokens: Tensor
    _from_tokens: Tensor

    def __init__(self, block: TransformerBlock, linear: Linear) -> None:
        super().__init__()
        attention = block.attn
        self._heads = heads = attention.num_heads
        self._scale = (attention.q.out_features // heads) ** -0.5
        self._ask = _after_norm(block.norm1, attention.q, linear)
        keys, _ = _folded(block.norm1, attention.k)
        values, values_bias = _folded(block.norm1, attention.v)
        dtype = self._ask.dtype
        by_head = (heads, -1, attention.q.in_features)
        self.register_buffer("_to_tokens", keys.view(by_head).to(dtype))
        self.register_buffer("_from_tokens", values.view(by_head).mT.to(dtype).contiguous())
        out, out_bias = _scaled_tensors(attention.proj, block.ls1)
        self._proj = linear(out, out_bias + out @ values_bias)
        self._feed_forward = _FeedForward(block, linear)

    def forward(self, queries: Tensor, normed: Tensor, n_bands: int, n_queries: int) -> Tensor:
        """Queries (n·K, D), or (K, D) for all, read normalised tokens (n·C, D): (n·K, D)."""
        n_patches, dim = len(normed) // n_bands, normed.shape[1]
        context = normed.view(n_patches, 1, n_bands, dim)
        asked = self._ask(_normed(queries)).view(-1, self._heads, dim // self._heads)
        asked = torch.bmm(asked.transpose(0, 1), self._to_tokens)
        asked = asked.view(self._heads, -1, n_queries, dim).transpose(0, 1)
        asked = asked.reshape(-1, 1, self._heads * n_queries, dim).expand(n_patches, -1, -1, -1)
        seen = attend(asked, context, context, self._scale)
        seen = seen.view(n_patches, self._heads, n_queries, dim).transpose(0, 1)
        seen = torch.bmm(seen.reshape(self._heads, -1, dim), self._from_tokens)
        seen = seen.transpose(0, 1).reshape(-1, dim)
        if len(queries) < len(seen):
            queries = queries.repeat(n_patches, 1)
        refined: Tensor = self._feed_forward(self._proj.added_to(queries, seen))
        return refined


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=_EPS)


def _after_norm(norm: nn.LayerNorm, layer: nn.Linear, linear: Linear) -> PackedLinear:
    return linear(*_folded(norm, layer))


def _folded(norm: nn.LayerNorm, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that follows a LayerNorm, once that only centres and divides."""
    shift = layer.weight @ norm.bias
    return layer.weight * norm.weight, shift if layer.bias is None else shift + layer.bias


def _scaled(layer: nn.Linear, scale: nn.Module, linear: Linear) -> PackedLinear:
    return linear(*_scaled_tensors(layer, scale))


def _scaled_tensors(layer: nn.Linear, scale: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer whose result is multiplied by a LayerScale, if there is one."""
    bias = torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias
    gamma = getattr(scale, "gamma", None)
    if gamma is None:
        return layer.weight, bias
    return layer.weight * gamma[:, None], bias * gamma
