"""From the K queries of a patch to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Readout(nn.Module):
    """Gather the queries of each patch.

    Args:
        kind: ``"sum"``, ``"concat"`` side by side, ``"max"`` per channel, or ``"attention"``: a
            mean under learned weights.
        n_queries: K.
        dim: D, channels of a query.

    Attributes:
        out_dim: channels of the result: K·D for ``"concat"``, else D.
    """

    def __init__(self, kind: str, n_queries: int, dim: int) -> None:
        super().__init__()
        self.kind = kind
        self.out_dim = n_queries * dim if kind == "concat" else dim
        self.score = nn.Linear(dim, 1) if kind == "attention" else None

    def forward(self, queries: Tensor) -> Tensor:
        """Gather (N, K, D) queries into (N, out_dim)."""
        if self.score is not None:
            weights: Tensor = self.score(queries).softmax(dim=1)
            return (weights * queries).sum(dim=1)
        if self.kind == "concat":
            return queries.flatten(1)
        if self.kind == "max":
            return torch.amax(queries, dim=1)
        return queries.sum(dim=1)
