"""How far predictions are from their targets, and from being all the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class LossTerms(NamedTuple):
    """A loss and what it is made of, each a scalar.

    Attributes:
        total: weighted mean of the three.
        invariance: mean squared error between predictions and targets.
        variance: how far predictions fall short of a standard deviation of γ.
        covariance: how far channels of predictions repeat each other.
    """

    total: Tensor
    invariance: Tensor
    variance: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class VICRegLoss:
    """Variance-invariance-covariance regularisation (Bardes et al. 2022).

    Variance and covariance are taken over the first dimension, apart for each position of a
    sequence, and of predictions only: targets have no gradient.

    Attributes:
        inv_coeff: weight of the invariance.
        var_coeff: weight of the variance.
        cov_coeff: weight of the covariance.
        var_param: γ, the standard deviation asked for.
        eps: added to variances before their root is taken.
    """

    inv_coeff: float = 1.0
    var_coeff: float = 1.0
    cov_coeff: float = 0.05
    var_param: float = 1.0
    eps: float = 1e-5

    def __call__(self, predictions: Tensor, targets: Tensor) -> LossTerms:
        """The loss of predictions (N, L, D) against targets (N, L, D), in float32."""
        predictions, targets = predictions.float(), targets.float()
        invariance = F.mse_loss(predictions, targets)
        deviation = torch.sqrt(predictions.var(dim=0) + self.eps)
        variance = F.relu(self.var_param - deviation).mean()
        covariance = _covariance(predictions)
        total = (
            self.inv_coeff * invariance + self.var_coeff * variance + self.cov_coeff * covariance
        ) / (self.inv_coeff + self.var_coeff + self.cov_coeff)
        return LossTerms(total, invariance, variance, covariance)


def _covariance(x: Tensor) -> Tensor:
    """Squared covariances between different channels, summed over pairs, divided by D."""
    n, _, dim = x.shape
    centred = (x - x.mean(dim=0)).transpose(0, 1)  # (L, N, D)
    covariance = centred.transpose(1, 2) @ centred / (n - 1)
    own = covariance.diagonal(dim1=1, dim2=2)
    return (covariance.square().sum(dim=(1, 2)) - own.square().sum(dim=1)).mean() / dim
