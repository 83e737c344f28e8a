"""Scaled-dot-product attention by whichever operations are fast on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SCORES = 1 << 20
"""At a time, at least those of one head: they stay in the cache, and memory is bounded."""
_MOST_EXPONENT = 60.0
"""Of e in bf16, with room for the sum of many: its largest number is e to the 88."""


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention of queries (N, H, L, d) to (N, H, M, d): (N, H, L, d).

    On a CPU PyTorch's fused attention takes over twice as long in bf16 as oneDNN's products and the
    softmax one after the other.
    """
    if not _is_slow_fused(q):
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    flat = [each.flatten(0, 1) for each in (q, k, v)]
    step = max(1, _SCORES // (q.shape[2] * k.shape[2]))
    if step >= len(flat[0]):
        attended = _products(flat, scale)
    else:
        parts = zip(*(torch.split(each, step) for each in flat), strict=True)
        attended = torch.cat([_products(part, scale) for part in parts])
    return attended.view(*q.shape[:-1], v.shape[-1])


def _products(qkv: Sequence[Tensor], scale: float) -> Tensor:
    q, k, v = qkv
    scores = torch.baddbmm(q.new_empty(1), q, k.mT, beta=0, alpha=scale)
    if torch.compiler.is_compiling() or not _can_be_exponents(scores):
        return torch.bmm(scores.softmax(-1), v)
    # As softmax, but divides the few results and not the many scores.
    weights = scores.exp_()
    return torch.bmm(weights, v).div_(weights.sum(-1, keepdim=True))


def _can_be_exponents(scores: Tensor) -> bool:
    """Whether no exponential overflows or vanishes, though the largest score is not taken off."""
    least, most = torch.aminmax(scores)
    return bool(least > -_MOST_EXPONENT) and bool(most < _MOST_EXPONENT)


class FastAttention(TorchFunctionMode):
    """While active in a thread, networks made by others attend by `attend`, too."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_plain(args, kwargs):
            q, k, v = args
            return attend(q, k, v, kwargs.get("scale") or q.shape[-1] ** -0.5)
        return func(*args, **kwargs)


def _is_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether nothing is masked or dropped, and the tensors are (N, H, L, d)."""
    return (
        len(args) == 3
        and all(each.ndim == 4 and each.dtype == args[0].dtype for each in args)
        and not any(value for name, value in kwargs.items() if name not in ("scale", "attn_mask"))
        and kwargs.get("attn_mask") is None
        and _is_slow_fused(args[0])
    )


def _is_slow_fused(q: Tensor) -> bool:
    return q.dtype == torch.bfloat16 and q.device.type == "cpu"
