"""Losses that compare features and prevent their collapse: VICReg and INTL."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class VICRegTerms(NamedTuple):
    """VICReg loss and its terms, each a scalar.

    Attributes:
        total: weighted mean of the three terms.
        invariance: mean squared error between predictions and targets.
        variance: mean of max(0, γ − standard deviation).
        covariance: mean squared covariance between different channels of the predictions.
    """

    total: Tensor
    invariance: Tensor
    variance: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class VICRegLoss:
    """Variance-invariance-covariance regularisation.

    Bardes et al. 2022, "VICReg: variance-invariance-covariance regularization for self-supervised
    learning", ICLR. Variance and covariance are computed over the first dimension, separately for
    each position of a sequence, and of predictions only, because targets have no gradient.

    Attributes:
        inv_coeff: weight of the invariance.
        var_coeff: weight of the variance.
        cov_coeff: weight of the covariance.
        var_param: γ, target standard deviation.
        eps: added to variances before the square root.

    Examples:
        >>> import torch
        >>> from carl.pretraining import VICRegLoss
        >>> collapsed = torch.ones(4, 1, 2)  # (N, L, D)
        >>> terms = VICRegLoss()(collapsed, collapsed)
        >>> float(terms.invariance), round(float(terms.variance), 2)
        (0.0, 1.0)
    """

    inv_coeff: float = 1.0
    var_coeff: float = 1.0
    cov_coeff: float = 0.05
    var_param: float = 1.0
    eps: float = 1e-5

    def __call__(self, predictions: Tensor, targets: Tensor) -> VICRegTerms:
        """Compute the loss of predictions (N, L, D) against targets (N, L, D), in float32."""
        predictions, targets = predictions.float(), targets.float()
        invariance = F.mse_loss(predictions, targets)
        deviation = torch.sqrt(predictions.var(dim=0) + self.eps)
        variance = F.relu(self.var_param - deviation).mean()  # hinge, eq. 1 of the paper
        covariance = _covariance_penalty(predictions)
        total = (
            self.inv_coeff * invariance + self.var_coeff * variance + self.cov_coeff * covariance
        ) / (self.inv_coeff + self.var_coeff + self.cov_coeff)
        return VICRegTerms(total, invariance, variance, covariance)


def _covariance_penalty(x: Tensor) -> Tensor:
    """Compute Σ_{i≠j} C_ij² / D, averaged over positions (eq. 4 of Bardes et al.)."""
    n, _, dim = x.shape
    centred = (x - x.mean(dim=0)).transpose(0, 1)  # (L, N, D)
    covariance = centred.transpose(1, 2) @ centred / (n - 1)  # C, (L, D, D)
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    return (covariance.square().sum(dim=(1, 2)) - diagonal.square().sum(dim=1)).mean() / dim


class INTLTerms(NamedTuple):
    """INTL loss and its terms, each a scalar.

    Attributes:
        total: invariance + β·trace.
        invariance: mean squared distance between whitened predictions and targets of unit length.
        trace: sum over channels of (1 − variance of the whitened predictions)².
    """

    total: Tensor
    invariance: Tensor
    trace: Tensor


@dataclass(frozen=True)
class INTLLoss:
    """Iterative normalisation with trace loss.

    Weng et al. 2024, "Modulate your spectrum in self-supervised learning", ICLR. A few Newton
    iterations bring the eigenvalues of the covariance close to each other without an
    eigendecomposition, and the trace loss reduces the largest ones to 1; together they prevent the
    collapse of any dimension.

    The tokens of all images and positions are samples, because a batch has fewer images than
    channels. As in `VICRegLoss`, each position has its own mean, so that features that depend on
    the position alone do not count as variance.

    Attributes:
        iterations: T, number of Newton iterations; rounding errors grow from about ten on.
        trace_weight: β; None for 0.01·(log₂ D − 3), as in the paper.
        eps: weight of the identity in the covariance, for its condition number.

    Examples:
        >>> import torch
        >>> from carl.pretraining import INTLLoss
        >>> features = torch.randn(64, 4, 8)  # (N, L, D)
        >>> abs(float(INTLLoss()(features, features).invariance)) < 1e-5
        True
    """

    iterations: int = 4
    trace_weight: float | None = None
    eps: float = 1e-5

    def __call__(self, predictions: Tensor, targets: Tensor) -> INTLTerms:
        """Compute the loss of predictions (N, L, D) against targets (N, L, D), in float32."""
        whitened = self._whiten(predictions.float())
        whitened_targets = self._whiten(targets.float())
        cosine = F.cosine_similarity(whitened, whitened_targets, dim=1)
        invariance = 2 - 2 * cosine.mean()  # = mean ‖a/‖a‖ − b/‖b‖‖²
        trace = (1 - whitened.var(dim=0)).square().sum()
        weight = self.trace_weight
        if weight is None:
            weight = 0.01 * (math.log2(predictions.shape[2]) - 3)
        return INTLTerms(invariance + weight * trace, invariance, trace)

    def _whiten(self, x: Tensor) -> Tensor:
        """Transform (N, L, D) tokens to (N·L, D) samples whose covariance is nearly identity."""
        samples = (x - x.mean(dim=0)).flatten(0, 1)
        covariance = samples.T @ samples / (len(samples) - 1)
        identity = torch.eye(samples.shape[1], device=samples.device)
        covariance = (1 - self.eps) * covariance + self.eps * identity
        return samples @ inverse_root(covariance, self.iterations)


def inverse_root(covariance: Tensor, iterations: int) -> Tensor:
    """Approximate Σ^(-1/2) of a (D, D) covariance by Newton's method.

    With Σ_N = Σ / tr Σ and P₀ = I: P_{k+1} = (3·P_k − P_k³·Σ_N)/2, and Σ^(-1/2) ≈ P_T / √(tr Σ)
    (Huang et al. 2019, "Iterative normalization: beyond standardization towards efficient
    whitening"). Dividing by the trace ensures convergence; directions of small variance are
    stretched less than in full whitening.
    """
    trace = covariance.trace()
    scaled = covariance / trace
    root = torch.eye(len(covariance), device=covariance.device)
    for _ in range(iterations):
        root = 1.5 * root - 0.5 * root @ root @ root @ scaled
    return root / trace.sqrt()
