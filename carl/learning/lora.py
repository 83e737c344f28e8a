"""Low-rank adapters: tune the attention of a network by a small share of its numbers.

LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685): a weight W stays frozen and the sum
W + (α/r)·B·A is used in its place, where A (r × in) and B (out × r) are thin. B starts at zero, so
an adapted network begins as the network it adapts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankSum(nn.Module):
    """A weight plus the product of two thin matrices.

    Args:
        weight: (out, in) to adapt; tells size, type and device.
        rank: r, of the product.
        alpha: the product is scaled by α/r, so that the learning rate need not follow the rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, n_in).normal_(std=n_in**-0.5))
        self.up = nn.Parameter(weight.new_zeros(n_out, rank))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """W + (α/r)·B·A."""
        return weight + self.scale * (self.up @ self.down)


def add_adapters(model: nn.Module, rank: int = 8, alpha: float = 16.0) -> list[nn.Parameter]:
    """Adapt every linear layer of every attention in place.

    A parametrisation rather than a wrapped layer: some attentions read the weight of a layer
    without calling it.

    Args:
        model: to adapt.
        rank: of each adapter, at most the smaller side of its layer.
        alpha: see `LowRankSum`.

    Returns:
        the parameters of the adapters, to be trained.
    """
    added: list[nn.Parameter] = []
    for layer in _attention_layers(model):
        adapter = LowRankSum(layer.weight, min(rank, *layer.weight.shape), alpha)
        parametrize.register_parametrization(layer, "weight", adapter)
        added.extend(adapter.parameters())
    return added


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Add what the adapters learned to the weights, in place, and take the adapters away."""
    for layer in _attention_layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _attention_layers(model: nn.Module) -> list[nn.Linear]:
    """Linear layers that are direct parts of an attention, found by its class's name."""
    return [
        layer
        for module in model.modules()
        if "attention" in type(module).__name__.lower()
        for layer in module.children()
        if isinstance(layer, nn.Linear)
    ]
