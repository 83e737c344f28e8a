"""The teacher: a moving average of the student."""

from __future__ import annotations

import torch
from torch import nn


def momentum_at(step: int, n_steps: int, start: float = 0.996, end: float = 0.99999) -> float:
    """Share of itself the teacher keeps at a step, rising linearly from `start` to `end`."""
    return start + (end - start) * min(step / n_steps, 1.0)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the weights of a teacher towards those of a student of the same making, in place.

    Args:
        teacher: keeps the share `momentum` of its weights.
        student: gives the rest.
        momentum: between 0 and 1.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new.to(old.dtype), 1.0 - momentum)
