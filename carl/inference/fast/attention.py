"""Scaled dot-product attention that is fast in bf16 on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_MAX_SCORES = 1 << 20
"""Number of scores computed at a time (at least those of one head): 2 MB in bf16, which fit into
the cache of a processor core and bound the memory."""
_MAX_EXPONENT = 60.0
"""Largest |score| for which exp(score) and its row sum stay finite in bf16 (limit: e^88) without
the row maximum subtracted."""


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Compute softmax(scale · q kᵀ) v.

    In bf16 on a CPU, PyTorch's fused attention takes over twice as long as oneDNN's matrix products
    and a softmax, so these are used there.

    Args:
        q: (N, H, L, d) queries.
        k: (N, H, M, d) keys.
        v: (N, H, M, d) values.
        scale: of the scores.

    Returns:
        (N, H, L, d).
    """
    if not _is_slow_fused(q):
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    flat = [each.flatten(0, 1) for each in (q, k, v)]
    step = max(1, _MAX_SCORES // (q.shape[2] * k.shape[2]))
    if step >= len(flat[0]):
        attended = _attend_unfused(flat, scale)
    else:
        parts = zip(*(torch.split(each, step) for each in flat), strict=True)
        attended = torch.cat([_attend_unfused(part, scale) for part in parts])
    return attended.view(*q.shape[:-1], v.shape[-1])


def _attend_unfused(qkv: Sequence[Tensor], scale: float) -> Tensor:
    q, k, v = qkv
    scores = torch.baddbmm(q.new_empty(1), q, k.mT, beta=0, alpha=scale)
    least, most = torch.aminmax(scores)
    if not (least > -_MAX_EXPONENT and most < _MAX_EXPONENT):  # also if there are NaNs
        return torch.bmm(scores.softmax(-1), v)
    # Σ exp(s) v / Σ exp(s): equal to softmax, but divides the (L, d) result, not the (L, M) scores.
    weights = scores.exp_()
    return torch.bmm(weights, v).div_(weights.sum(-1, keepdim=True))


class FastAttention(TorchFunctionMode):
    """Replace PyTorch's attention by `attend` while active, in modules of other packages."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_plain(args, kwargs):
            q, k, v = args
            return attend(q, k, v, kwargs.get("scale") or q.shape[-1] ** -0.5)
        return func(*args, **kwargs)


def _is_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether nothing is masked or dropped, and the tensors are (N, H, L, d)."""
    return (
        len(args) == 3
        and all(each.ndim == 4 and each.dtype == args[0].dtype for each in args)
        and not any(value for name, value in kwargs.items() if name not in ("scale", "attn_mask"))
        and kwargs.get("attn_mask") is None
        and _is_slow_fused(args[0])
    )


def _is_slow_fused(q: Tensor) -> bool:
    return q.dtype == torch.bfloat16 and q.device.type == "cpu"
