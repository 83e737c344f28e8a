from __future__ import annotations

import pytest
import torch

from carl.model.readout import Readout

QUERIES = torch.arange(24.0).view(2, 3, 4).sin()


def test_sum_max_and_concat() -> None:
    assert torch.equal(Readout("sum", 3, 4)(QUERIES), QUERIES[:, 0] + QUERIES[:, 1] + QUERIES[:, 2])
    assert torch.equal(Readout("max", 3, 4)(QUERIES), QUERIES.max(dim=1).values)
    concat = Readout("concat", 3, 4)
    assert concat.out_dim == 12
    assert torch.equal(concat(QUERIES), torch.cat(QUERIES.unbind(1), dim=1))


def test_attention_is_a_mean_that_learns_where_to_look() -> None:
    readout = Readout("attention", 3, 4)
    assert readout.score is not None
    torch.nn.init.zeros_(readout.score.weight)
    torch.testing.assert_close(readout(QUERIES), QUERIES.mean(dim=1))
    with torch.no_grad():
        readout.score.weight[0, 0] = 1e4  # look only at the query whose first channel is largest
    chosen = QUERIES[torch.arange(2), QUERIES[:, :, 0].argmax(dim=1)]
    torch.testing.assert_close(readout(QUERIES), chosen)


@pytest.mark.parametrize("kind", ["sum", "max", "attention"])
def test_the_order_of_queries_does_not_matter(kind: str) -> None:
    readout = Readout(kind, 3, 4)
    torch.testing.assert_close(readout(QUERIES), readout(QUERIES.flip(1)))
