"""Add low-rank adapters to the attentions of a network, and merge them after training.

LoRA (Hu et al. 2021, https://arxiv.org/abs/2106.09685): a frozen weight W is replaced by
W + (α/r)·B·A, where A (r × in) and B (out × r) are thin trainable matrices. B starts at zero, so
that the adapted network initially equals the original.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankSum(nn.Module):
    """Sum of a weight and the scaled product of two thin matrices.

    Args:
        weight: (out, in) weight to adapt; defines shape, type and device of the adapter.
        rank: r, rank of the product.
        alpha: α; scaling by α/r makes the best learning rate nearly independent of the rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        n_out, n_in = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, n_in).normal_(std=n_in**-0.5))
        self.up = nn.Parameter(weight.new_zeros(n_out, rank))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Compute W + (α/r)·B·A."""
        return weight + self.scale * (self.up @ self.down)


def add_adapters(model: nn.Module, rank: int = 8, alpha: float = 16.0) -> list[nn.Parameter]:
    """Adapt every linear layer of every attention in place, and return the new parameters.

    Adapters are parametrisations, not wrapped layers, because some attentions read the weight of a
    layer without calling it.

    Args:
        model: network to adapt.
        rank: rank of each adapter, limited to the smaller side of its layer.
        alpha: scale of the adapters, see `LowRankSum`.
    """
    added: list[nn.Parameter] = []
    for layer in _attention_layers(model):
        adapter = LowRankSum(layer.weight, min(rank, *layer.weight.shape), alpha)
        parametrize.register_parametrization(layer, "weight", adapter)
        added.extend(adapter.parameters())
    return added


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Replace each adapted weight W by W + (α/r)·B·A in place, and remove the adapters."""
    for layer in _attention_layers(model):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _attention_layers(model: nn.Module) -> list[nn.Linear]:
    """Return the linear children of all modules whose class name contains "attention"."""
    return [
        layer
        for module in model.modules()
        if "attention" in type(module).__name__.lower()
        for layer in module.children()
        if isinstance(layer, nn.Linear)
    ]
