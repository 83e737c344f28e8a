from __future__ import annotations

import math

import numpy as np
import torch

from carl.model.heads.vit_adapter import DeformableAttention, grid_centres, weighted_sample

GRIDS = [(3, 5), (2, 1), (4, 4)]


def explicit_weighted_sample(values, grids, points, weights):
    """Compute the sum in loops over queries, heads, maps and points, in double precision."""
    batch, length, heads, n_levels, n_points = weights.shape
    result = np.zeros((batch, length, heads, values.shape[-1]))
    starts = np.cumsum([0] + [h * w for h, w in grids])
    for b, q, m, level, k in np.ndindex(batch, length, heads, n_levels, n_points):
        h, w = grids[level]
        x, y = points[b, q, m, level, k] * (w, h) - 0.5
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < h and 0 <= column < w:
                    bilinear = (1 - abs(y - row)) * (1 - abs(x - column))
                    value = values[b, starts[level] + row * w + column, m]
                    result[b, q, m] += weights[b, q, m, level, k] * bilinear * value
    return result.reshape(batch, length, -1)


def test_weighted_sample_equals_explicit_sum():
    generator = torch.Generator().manual_seed(0)
    n_positions = sum(h * w for h, w in GRIDS)
    values = torch.randn(2, n_positions, 2, 3, generator=generator, dtype=torch.float64)
    # Some of the points lie outside the maps.
    points = torch.rand(2, 4, 2, 3, 5, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(2, 4, 2, 3, 5, generator=generator, dtype=torch.float64)
    fast = weighted_sample(values, GRIDS, points, weights)
    slow = explicit_weighted_sample(values.numpy(), GRIDS, points.numpy(), weights.numpy())
    np.testing.assert_allclose(fast.numpy(), slow, atol=1e-12)


def test_attention_equals_its_definition_in_numpy():
    torch.manual_seed(0)
    attention = DeformableAttention(8, num_heads=2, n_levels=3, n_points=2, ratio=0.5).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    queries = torch.randn(1, 15, 8, dtype=torch.float64)
    tokens = torch.randn(1, 33, 8, dtype=torch.float64)
    positions = grid_centres((3, 5), torch.device("cpu")).double()
    with torch.no_grad():
        fast = attention(queries, positions, tokens, GRIDS)
        offsets = attention.offsets(queries).numpy().reshape(1, 15, 2, 3, 2, 2)
        scores = attention.weights(queries).numpy().reshape(1, 15, 2, 6)
        values = attention.value(tokens).numpy().reshape(1, 33, 2, 2)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    sides = np.array([(w, h) for h, w in GRIDS], float)[:, None]
    points = positions.numpy()[None, :, None, None, None] + offsets / sides
    sampled = explicit_weighted_sample(values, GRIDS, points, weights.reshape(1, 15, 2, 3, 2))
    slow = sampled @ attention.proj.weight.detach().numpy().T + attention.proj.bias.detach().numpy()
    np.testing.assert_allclose(fast.numpy(), slow, atol=1e-10)


def test_gradients_equal_finite_differences():
    torch.manual_seed(0)
    values = torch.randn(1, 33, 1, 2, dtype=torch.float64, requires_grad=True)
    points = torch.rand(1, 2, 1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, 2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *inputs: weighted_sample(inputs[0], GRIDS, *inputs[1:]), (values, points, weights)
    )


def test_grid_centres_are_in_row_order():
    expected = [
        [0.25, 1 / 6],
        [0.75, 1 / 6],
        [0.25, 0.5],
        [0.75, 0.5],
        [0.25, 5 / 6],
        [0.75, 5 / 6],
    ]
    assert torch.allclose(grid_centres((3, 2), torch.device("cpu")), torch.tensor(expected))


def test_initial_offsets_point_in_one_direction_per_head():
    attention = DeformableAttention(8, num_heads=4, n_levels=1, n_points=3)
    offsets = attention.offsets(torch.randn(1, 1, 8)).view(4, 3, 2)
    expected = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    for point in range(3):
        assert torch.allclose(offsets[:, point], expected * (point + 1), atol=1e-6)
