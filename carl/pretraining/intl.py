"""INTL: predictions and targets are whitened before they are compared, so nothing collapses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class INTLTerms(NamedTuple):
    """A loss and what it is made of, each a scalar.

    Attributes:
        total: invariance, and the trace by its weight.
        invariance: mean squared distance of whitened predictions and targets, both of length 1.
        trace: how far the variances of whitened predictions are from 1.
    """

    total: Tensor
    invariance: Tensor
    trace: Tensor


@dataclass(frozen=True)
class INTLLoss:
    """Iterative normalisation with trace loss (Weng et al. 2024).

    "Modulate your spectrum in self-supervised learning", ICLR 2024: a few Newton iterations bring
    the eigenvalues of the covariance close to each other without ever solving for them, and the
    trace loss drives the largest ones down to 1; both together exclude collapse of any dimension.

    The tokens of all images and all positions are samples, since there are fewer images than
    channels in a batch. As in VICReg here, each position has a mean of its own: what is the same in
    all images, because only the place tells it, must not count as variety.

    Attributes:
        iterations: T, of Newton's method; from about ten on, rounding errors grow.
        trace_weight: β; by default 0.01·(log₂ D − 3), as the paper has it.
        eps: share of the identity in the covariance, for its condition.
    """

    iterations: int = 4
    trace_weight: float | None = None
    eps: float = 1e-5

    def __call__(self, predictions: Tensor, targets: Tensor) -> INTLTerms:
        """The loss of predictions (N, L, D) against targets (N, L, D), in float32."""
        whitened = self._whiten(predictions.float())
        wanted = self._whiten(targets.float())
        cosine = F.cosine_similarity(whitened, wanted, dim=1)
        invariance = 2 - 2 * cosine.mean()
        trace = (1 - whitened.var(dim=0)).square().sum()
        weight = self.trace_weight
        if weight is None:
            weight = 0.01 * (math.log2(predictions.shape[2]) - 3)
        return INTLTerms(invariance + weight * trace, invariance, trace)

    def _whiten(self, x: Tensor) -> Tensor:
        """(N, L, D) tokens to (N·L, D) with nearly the identity as covariance."""
        samples = (x - x.mean(dim=0)).flatten(0, 1)
        return samples @ inverse_root(self._covariance(samples), self.iterations)

    def _covariance(self, samples: Tensor) -> Tensor:
        """(D, D) of centred samples (M, D)."""
        covariance = samples.T @ samples / (len(samples) - 1)
        identity = torch.eye(samples.shape[1], device=samples.device)
        return (1 - self.eps) * covariance + self.eps * identity


def inverse_root(covariance: Tensor, iterations: int) -> Tensor:
    """Σ^(-1/2) of a (D, D) covariance, approximately.

    Newton's method on Σ divided by its trace, so that it converges (Huang et al. 2019, "Iterative
    normalization: beyond standardization towards efficient whitening"): directions of little
    variance are stretched less than in full whitening.
    """
    trace = covariance.trace()
    scaled = covariance / trace
    root = torch.eye(len(covariance), device=covariance.device)
    for _ in range(iterations):
        root = 1.5 * root - 0.5 * root @ root @ root @ scaled
    return root / trace.sqrt()
