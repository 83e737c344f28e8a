"""Linear layers whose weights are in the packed layout of oneDNN.

They use private operations of PyTorch, the ones `torch.compile` generates calls to.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_mkldnn: Any = torch.ops.mkldnn


class PackedLinear(nn.Module):
    """Linear layer x Wᵀ + b for inference, alone or fused with the operation after it.

    On a CPU, oneDNN computes it with weights packed in blocks once, and applies GELU or adds the
    residual while the result is in registers. By default PyTorch passes float32 products to MKL,
    which is 2.3 times slower on an AMD EPYC 9005 because it uses the widest instructions on Intel
    processors only. On another device, or if this PyTorch lacks the operations, plain PyTorch
    operations are used.

    Args:
        weight: (out, in).
        bias: (out,), or None.
        dtype: to compute in; inputs are converted.
    """

    _weight: Tensor
    _bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        weight = weight.detach().to(dtype).contiguous()
        self.dtype = dtype
        self.register_buffer("_bias", None if bias is None else bias.detach().to(dtype))
        self._is_packed = weight.device.type == "cpu" and can_pack(dtype)
        self.register_buffer("_weight", _pack(weight) if self._is_packed else weight)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer: (..., in) to (..., out)."""
        x = x.to(self.dtype)
        if self._is_packed:
            return _linear(x, self._weight, self._bias)
        result: Tensor = F.linear(x, self._weight, self._bias)
        return result

    def gelu(self, x: Tensor) -> Tensor:
        """Apply the layer and GELU: (..., in) to (..., out)."""
        if self._is_packed:
            return _linear(x.to(self.dtype), self._weight, self._bias, "gelu")
        return F.gelu(self(x))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """Apply the layer and add a residual (..., out): (..., in) to (..., out)."""
        if self._is_packed:
            return _linear_sum(x.to(self.dtype), residual, self._weight, self._bias)
        total: Tensor = residual + self(x)
        return total


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch has the packed operations and they compute correct results."""
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


def pack_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace the linear layers of a module by packed ones, in place."""
    for parent in list(module.modules()):
        _join_qkv_biases(parent)
        for name, child in parent.named_children():
            if type(child) is nn.Linear:
                setattr(parent, name, PackedLinear(child.weight, child.bias, dtype))


def _join_qkv_biases(module: nn.Module) -> None:
    """Give the qkv layer of timm's EVA attention its bias, which EVA keeps in three parameters."""
    biases: list[Any] = [getattr(module, name, None) for name in ("q_bias", "k_bias", "v_bias")]
    layer = getattr(module, "qkv", None)
    if type(layer) is not nn.Linear or any(bias is None for bias in biases):
        return
    joined = nn.Linear(layer.in_features, layer.out_features, device="meta")
    joined.weight, joined.bias = layer.weight, nn.Parameter(torch.cat(biases).detach())
    module.add_module("qkv", joined)
    module.register_parameter("q_bias", None)  # EVA uses the bias of the layer if q_bias is None


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = _mkldnn._reorder_linear_weight(weight)
    return packed


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none") -> Tensor:
    approximate = "none"  # GELU by the error function, not by tanh
    result: Tensor = _mkldnn._linear_pointwise(x, weight, bias, then, [], approximate)
    return result


def _linear_sum(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    total: Tensor = _mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
    return total
