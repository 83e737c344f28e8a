"""Targets of very different sizes, some of them unknown, made comparable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_VARIANCE = 1e-6
_MEMORY = 0.99


class RunningScale(nn.Module):
    """Mean and variance of each of N targets over the batches so far, the last ones above all.

    Args:
        n_targets: N.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, n_targets: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_targets))
        self.register_buffer("variance", torch.ones(n_targets))
        self.register_buffer("count", torch.zeros(n_targets))

    def forward(self, target: Tensor) -> Tensor:
        """(B, N, h, w) targets, each with mean 0 and variance 1."""
        return (target - self.mean[:, None, None]) / self.variance.sqrt()[:, None, None]

    @torch.no_grad()
    def follow(self, target: Tensor) -> None:
        """Move towards a batch (B, N, h, w); a target that it does not know stays where it is."""
        values = target.movedim(1, 0).flatten(1)
        known = values.isfinite()
        n_known = known.sum(dim=1)
        present = n_known > 0
        self.count += present
        rate = torch.maximum(1 / self.count.clamp_min(1), torch.tensor(1 - _MEMORY)) * present
        share = n_known.clamp_min(1)
        values = torch.where(known, values, self.mean[:, None])
        self.mean += rate * (values - self.mean[:, None]).sum(dim=1) / share
        offsets = torch.where(known, values - self.mean[:, None], 0)
        self.variance += rate * (offsets.square().sum(dim=1) / share - self.variance)
        self.variance.clamp_min_(LEAST_VARIANCE)


def contrast_error(told: Tensor, target: Tensor, least: float) -> Tensor:
    """Error of what differs within each image, in units of how much it does.

    Two fields of one image may differ by far less than images of a set do, and have to be told
    apart all the same.

    Args:
        told: (B, N, h, w).
        target: the same; NaN where unknown.
        least: the smallest unit; what differs less is noise.
    """
    known = target.isfinite()
    share = known.sum(dim=(2, 3), keepdim=True).clamp_min(1)

    def centred(values: Tensor) -> Tensor:
        values = torch.where(known, values, 0)
        return torch.where(known, values - values.sum(dim=(2, 3), keepdim=True) / share, 0)

    wanted = centred(target)
    unit = (wanted.square().sum(dim=(2, 3), keepdim=True) / share).sqrt().clamp_min(least)
    error = F.smooth_l1_loss(centred(told) / unit, wanted / unit, reduction="sum")
    return error / known.sum().clamp_min(1)


def known_error(told: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 error over the targets that are known; 0 if none is."""
    known = target.isfinite()
    error = F.smooth_l1_loss(told, torch.where(known, target, told.detach()), reduction="sum")
    return error / known.sum().clamp_min(1)
