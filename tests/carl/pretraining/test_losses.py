from __future__ import annotations

import numpy as np
import pytest
import torch

from carl.pretraining.losses import VICRegLoss


def by_loops(
    predictions: np.ndarray, targets: np.ndarray, weights: tuple[float, float, float], gamma: float
) -> tuple[float, float, float, float]:
    """The loss from its definition, position by position, channel by channel."""
    _, length, dim = predictions.shape
    invariance = (
        sum((p - t) ** 2 for p, t in zip(predictions.ravel(), targets.ravel(), strict=True))
        / predictions.size
    )
    variance = covariance = 0.0
    for position in range(length):
        table = np.cov(predictions[:, position], rowvar=False)
        for i in range(dim):
            variance += max(0.0, gamma - (table[i, i] + 1e-5) ** 0.5) / (length * dim)
            for j in range(dim):
                if i != j:
                    covariance += table[i, j] ** 2 / (dim * length)
    terms = (invariance, variance, covariance)
    total = sum(w * term for w, term in zip(weights, terms, strict=True)) / sum(weights)
    return (total, *terms)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.05), (25.0, 25.0, 1.0)])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
@pytest.mark.parametrize("shape", [(2, 1, 3), (7, 4, 5)])
def test_equals_its_definition(
    shape: tuple[int, ...], gamma: float, weights: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(0)
    predictions, targets = 0.8 * rng.normal(size=shape), rng.normal(size=shape)
    expected = by_loops(predictions, targets, weights, gamma)
    terms = VICRegLoss(*weights, var_param=gamma)(torch.tensor(predictions), torch.tensor(targets))
    assert [float(term) for term in terms] == pytest.approx(expected, rel=1e-4)


def test_collapse_costs_and_a_perfect_varied_prediction_does_not() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    varied = 2 * signs[:, None]
    assert float(VICRegLoss()(varied, varied).total) == 0
    collapsed = torch.ones(4, 1, 2)
    terms = VICRegLoss()(collapsed, collapsed)
    assert float(terms.invariance) == float(terms.covariance) == 0
    assert float(terms.variance) == pytest.approx(1 - 1e-5**0.5)


def test_it_is_computed_in_float32_and_has_a_gradient_for_predictions_only() -> None:
    predictions = torch.randn(5, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    targets = torch.randn(5, 3, 4, dtype=torch.bfloat16)
    terms = VICRegLoss()(predictions, targets)
    assert terms.total.dtype == torch.float32
    terms.total.backward()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()
