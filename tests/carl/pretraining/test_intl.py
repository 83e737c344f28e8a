from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from carl.pretraining.intl import INTLLoss, inverse_root


def independently(predictions: np.ndarray, targets: np.ndarray, iterations: int) -> list[float]:
    """The loss by way of eigenvalues, on which Newton's method acts one by one.

    An eigenvalue s of the covariance over its trace starts at p = 1 and is mapped by
    p ← (3 p − p³ s)/2 towards s^(-1/2).
    """
    whitened = []
    for tokens in (predictions, targets):
        centred = np.stack(
            [tokens[:, i] - tokens[:, i].mean(axis=0) for i in range(tokens.shape[1])]
        )
        samples = centred.transpose(1, 0, 2).reshape(-1, tokens.shape[2])
        covariance = sum(np.outer(x, x) for x in samples) / (len(samples) - 1)
        covariance = (1 - 1e-5) * covariance + 1e-5 * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        scaled, p = values / values.sum(), np.ones_like(values)
        for _ in range(iterations):
            p = (3 * p - p**3 * scaled) / 2
        whitened.append(samples @ (vectors * p / math.sqrt(values.sum())) @ vectors.T)
    ours, theirs = whitened
    distances = [
        np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)
        for a, b in zip(ours, theirs, strict=True)
    ]
    trace = sum((1 - np.var(channel, ddof=1)) ** 2 for channel in ours.T)
    weight = 0.01 * (math.log2(predictions.shape[2]) - 3)
    return [float(np.mean(distances) + weight * trace), float(np.mean(distances)), float(trace)]


@pytest.mark.parametrize("shape", [(7, 4, 16), (40, 3, 9)])
@pytest.mark.parametrize("iterations", [1, 4, 7])
def test_equals_an_independent_computation(shape: tuple[int, int, int], iterations: int) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(shape[2], shape[2]))
    targets = rng.normal(size=shape) @ mixing
    predictions = targets + rng.normal(0, 0.5, shape)
    terms = INTLLoss(iterations=iterations)(torch.tensor(predictions), torch.tensor(targets))
    expected = independently(predictions, targets, iterations)
    assert [float(term) for term in terms] == pytest.approx(expected, rel=1e-3)


def test_enough_iterations_whiten() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=rng) * torch.linspace(1, 2, 6)
    x[:, 0] += 0.3 * x[:, 5]
    covariance = torch.cov(x.T)
    root = inverse_root(covariance, 9)
    torch.testing.assert_close(root @ covariance @ root, torch.eye(6), atol=1e-3, rtol=0)


def test_what_is_the_same_in_all_images_does_not_count() -> None:
    rng = torch.Generator().manual_seed(0)
    predictions, targets = (torch.randn(12, 5, 8, generator=rng) for _ in range(2))
    places = 10 * torch.randn(5, 8, generator=rng)
    plain, moved = INTLLoss()(predictions, targets), INTLLoss()(predictions + places, targets)
    torch.testing.assert_close(plain.total, moved.total, atol=1e-4, rtol=0)


def test_perfect_predictions_cost_only_their_spectrum_and_collapse_costs_most() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(64, 4, 8, generator=rng)
    perfect = INTLLoss()(targets, targets)
    assert float(perfect.invariance) == pytest.approx(0, abs=1e-5)
    line = targets[..., :1] * torch.randn(8, generator=rng)  # all on one line
    collapsed = INTLLoss()(line + 1e-3 * torch.randn(64, 4, 8, generator=rng), targets)
    assert collapsed.trace > 10 * perfect.trace
    assert collapsed.invariance > 0.3


def test_it_restores_dimensions_by_gradient_descent() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(64, 2, 8, generator=rng)
    weight = torch.zeros(8, 8)
    weight[:, 0] = 1.0
    weight = (weight + 0.05 * torch.randn(8, 8, generator=rng)).requires_grad_()
    before = condition(weight)
    optimiser = torch.optim.Adam([weight], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        INTLLoss()(targets @ weight, targets).total.backward()
        optimiser.step()
    assert before < 0.01
    assert condition(weight) > 0.2


def condition(matrix: torch.Tensor) -> float:
    """Smallest over largest singular value."""
    values = torch.linalg.svdvals(matrix.detach())
    return float(values[-1] / values[0])
