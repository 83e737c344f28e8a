"""Tensors of all processes together, with their gradients."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T", bound=tuple[Tensor, ...])


class _Gather(torch.autograd.Function):
    """Concatenate along the first dimension; each process has as much of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.n_own = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each process derives its own copy of the loss. Added up, they are one gradient too large
        # by the number of processes; averaging gradients over processes afterwards mends this.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.n_own
        return gradient[start : start + ctx.n_own]


def gather(tensors: T) -> T:
    """The tensors of a named tuple, those of all processes one below the other.

    A loss of the result is the same in every process, and the same as if one had done all the work.
    Alone, or without processes, nothing changes.

    Args:
        tensors: (N, ...) each, N the same in every process.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensors
    return type(tensors)(*(_Gather.apply(each) for each in tensors))
