"""Linear layers whose weights are brought into the processor's own form once, not at every call."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """x·Wᵀ + b for inference, alone or together with what follows it.

    On a CPU oneDNN computes it: with weights packed in blocks, and GELU or the sum with the
    residual while the result is still in registers. PyTorch gives float32 to MKL instead, which
    takes the widest instructions of Intel's processors only: on an AMD EPYC 9005 it is 2.3 times as
    slow. Where PyTorch lacks these operations, or on another device, its own layers do the work.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        dtype: to compute in; inputs are converted.
        packs: whether to use packed weights where they can be. `torch.compile` packs by itself.
    """

    _weight: Tensor
    _bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, packs: bool = True
    ) -> None:
        super().__init__()
        weight = weight.detach().to(dtype).contiguous()
        self.dtype = dtype
        self.register_buffer("_bias", None if bias is None else bias.detach().to(dtype))
        self._packs = packs and weight.device.type == "cpu" and can_pack(dtype)
        self.register_buffer("_weight", _pack(weight) if self._packs else weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        x = x.to(self.dtype)
        if self._packs:
            return _linear(x, self._weight, self._bias)
        result: Tensor = F.linear(x, self._weight, self._bias)
        return result

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of the layer: (..., in) to (..., out)."""
        if self._packs:
            return _linear(x.to(self.dtype), self._weight, self._bias, "gelu")
        return F.gelu(self(x))

    def added_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """A residual (..., out) and the layer of (..., in) together."""
        if self._packs:
            return _linear_sum(x.to(self.dtype), residual, self._weight, self._bias)
        total: Tensor = residual + self(x)
        return total


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has the operations for packed weights, and they compute the right thing.

    They are those that `torch.compile` uses; they are not part of its documented interface.
    """
    random = torch.Generator().manual_seed(0)
    x, residual, weight, bias = (
        torch.randn(shape, generator=random).to(dtype) for shape in ((3, 32), (3, 16), (16, 32), 16)
    )
    expected = F.linear(x, weight, bias)
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-5
    try:
        with torch.inference_mode():
            packed = _pack(weight)
            pairs = (
                (_linear(x, packed, bias), expected),
                (_linear(x, packed, bias, "gelu"), F.gelu(expected)),
                (_linear_sum(x, residual, packed, bias), residual + expected),
            )
        return all(torch.allclose(*pair, atol=tolerance, rtol=tolerance) for pair in pairs)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


def with_packed_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace the linear layers of a module by packed ones."""
    for parent in list(module.modules()):
        _give_bias_to_layer(parent)
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child.weight, child.bias, dtype))


def _give_bias_to_layer(module: nn.Module) -> None:
    """Where EVA keeps the biases of its layer for queries, keys and values apart, join them."""
    biases: list[Tensor | None] = [
        getattr(module, name, None) for name in ("q_bias", "k_bias", "v_bias")
    ]
    present = [bias for bias in biases if bias is not None]
    layer = getattr(module, "qkv", None)
    if type(layer) is not nn.Linear or len(present) < len(biases):
        return
    joined = nn.Linear(layer.in_features, layer.out_features, device="meta")
    joined.weight, joined.bias = layer.weight, nn.Parameter(torch.cat(present).detach())
    module.add_module("qkv", joined)
    module.register_parameter("q_bias", None)  # without it, it does not look at the others


def _operation(name: str) -> Callable[..., Tensor]:
    packet: Any = getattr(torch.ops.mkldnn, name)
    operation: Callable[..., Tensor] = packet
    return operation


def _pack(weight: Tensor) -> Tensor:
    return _operation("_reorder_linear_weight")(weight)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    exactly = "none"  # GELU by the error function, not by tanh
    return _operation("_linear_pointwise")(x, weight, bias, then, [], exactly)


def _linear_sum(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    pointwise: Any = torch.ops.mkldnn._linear_pointwise
    total: Tensor = pointwise.binary(x, residual, weight, bias, "add")
    return total
