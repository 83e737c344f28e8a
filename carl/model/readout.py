"""Readout: aggregation of the K queries of a patch into one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Readout(nn.Module):
    """Aggregation of the queries q_1 … q_K of each patch.

    The kinds are those of the ablation in the CARL paper (https://arxiv.org/abs/2504.19223):

    - ``"sum"``: Σ_k q_k
    - ``"concat"``: q_1, …, q_K side by side
    - ``"max"``: maximum over k per channel
    - ``"attention"``: Σ_k a_k q_k with a = softmax_k(w·q_k + b) and learned w, b

    Args:
        kind: ``"sum"``, ``"concat"``, ``"max"`` or ``"attention"``.
        n_queries: K.
        dim: D, channels of a query.

    Attributes:
        out_dim: channels of the result: K·D for ``"concat"``, otherwise D.
    """

    def __init__(self, kind: str, n_queries: int, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.out_dim = n_queries * dim if kind == "concat" else dim
        self.score = nn.Linear(dim, 1) if kind == "attention" else None

    def forward(self, queries: Tensor) -> Tensor:
        """Aggregate queries (N, K, D) to vectors (N, out_dim)."""
        if self.score is not None:
            weights: Tensor = self.score(queries).softmax(dim=1)
            return (weights * queries).sum(dim=1)
        if self.kind == "concat":
            return queries.flatten(1)
        if self.kind == "max":
            return torch.amax(queries, dim=1)
        return queries.sum(dim=1)
