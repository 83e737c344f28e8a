from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from carl.pretraining.losses import INTLLoss, VICRegLoss, inverse_root


def vicreg_by_loops(
    predictions: np.ndarray, targets: np.ndarray, weights: tuple[float, float, float], gamma: float
) -> tuple[float, float, float, float]:
    """Compute the loss by its definition, for each position and channel."""
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
def test_vicreg_equals_its_definition(
    shape: tuple[int, ...], gamma: float, weights: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(0)
    predictions, targets = 0.8 * rng.normal(size=shape), rng.normal(size=shape)
    expected = vicreg_by_loops(predictions, targets, weights, gamma)
    terms = VICRegLoss(*weights, var_param=gamma)(torch.tensor(predictions), torch.tensor(targets))
    assert [float(term) for term in terms] == pytest.approx(expected, rel=1e-4)


def test_vicreg_penalises_collapse_only() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    varied = 2 * signs[:, None]
    assert float(VICRegLoss()(varied, varied).total) == 0
    collapsed = torch.ones(4, 1, 2)
    terms = VICRegLoss()(collapsed, collapsed)
    assert float(terms.invariance) == float(terms.covariance) == 0
    assert float(terms.variance) == pytest.approx(1 - 1e-5**0.5)


def test_vicreg_is_computed_in_float32() -> None:
    predictions = torch.randn(5, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    targets = torch.randn(5, 3, 4, dtype=torch.bfloat16)
    terms = VICRegLoss()(predictions, targets)
    assert terms.total.dtype == torch.float32
    terms.total.backward()
    assert predictions.grad is not None
    assert torch.isfinite(predictions.grad).all()


def intl_by_eigenvalues(
    predictions: np.ndarray, targets: np.ndarray, iterations: int
) -> list[float]:
    """Compute the loss by an eigendecomposition, since Newton's method acts on each eigenvalue.

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
    ours, target = whitened
    distances = [
        np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)
        for a, b in zip(ours, target, strict=True)
    ]
    trace = sum((1 - np.var(channel, ddof=1)) ** 2 for channel in ours.T)
    weight = 0.01 * (math.log2(predictions.shape[2]) - 3)
    return [float(np.mean(distances) + weight * trace), float(np.mean(distances)), float(trace)]


@pytest.mark.parametrize("shape", [(7, 4, 16), (40, 3, 9)])
@pytest.mark.parametrize("iterations", [1, 4, 7])
def test_intl_equals_computation_by_eigenvalues(
    shape: tuple[int, int, int], iterations: int
) -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(shape[2], shape[2]))
    targets = rng.normal(size=shape) @ mixing
    predictions = targets + rng.normal(0, 0.5, shape)
    terms = INTLLoss(iterations=iterations)(torch.tensor(predictions), torch.tensor(targets))
    expected = intl_by_eigenvalues(predictions, targets, iterations)
    assert [float(term) for term in terms] == pytest.approx(expected, rel=1e-3)


def test_inverse_root_converges() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=rng) * torch.linspace(1, 2, 6)
    x[:, 0] += 0.3 * x[:, 5]
    covariance = torch.cov(x.T)
    root = inverse_root(covariance, 9)
    torch.testing.assert_close(root @ covariance @ root, torch.eye(6), atol=1e-3, rtol=0)


def test_intl_ignores_offsets_that_depend_on_position_only() -> None:
    rng = torch.Generator().manual_seed(0)
    predictions, targets = (torch.randn(12, 5, 8, generator=rng) for _ in range(2))
    offsets = 10 * torch.randn(5, 8, generator=rng)
    plain, moved = INTLLoss()(predictions, targets), INTLLoss()(predictions + offsets, targets)
    torch.testing.assert_close(plain.total, moved.total, atol=1e-4, rtol=0)


def test_intl_penalises_collapse() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(64, 4, 8, generator=rng)
    perfect = INTLLoss()(targets, targets)
    assert float(perfect.invariance) == pytest.approx(0, abs=1e-5)
    line = targets[..., :1] * torch.randn(8, generator=rng)  # rank 1
    collapsed = INTLLoss()(line + 1e-3 * torch.randn(64, 4, 8, generator=rng), targets)
    assert collapsed.trace > 10 * perfect.trace
    assert collapsed.invariance > 0.3


def test_intl_restores_collapsed_dimensions() -> None:
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
    """Return the smallest singular value over the largest."""
    values = torch.linalg.svdvals(matrix.detach())
    return float(values[-1] / values[0])
