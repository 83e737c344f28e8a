from __future__ import annotations

import pytest
import torch

from carl.model.spectral_encoder import Readout

QUERIES = torch.arange(24.0).view(2, 3, 4).sin()


def test_sum_max_and_concat_equal_their_definition() -> None:
    assert torch.equal(Readout("sum", 3, 4)(QUERIES), QUERIES[:, 0] + QUERIES[:, 1] + QUERIES[:, 2])
    assert torch.equal(Readout("max", 3, 4)(QUERIES), QUERIES.max(dim=1).values)
    concat = Readout("concat", 3, 4)
    assert concat.out_dim == 12
    assert torch.equal(concat(QUERIES), torch.cat(QUERIES.unbind(1), dim=1))


def test_attention_readout_ranges_from_mean_to_selection() -> None:
    readout = Readout("attention", 3, 4)
    assert readout.score is not None
    torch.nn.init.zeros_(readout.score.weight)
    torch.testing.assert_close(readout(QUERIES), QUERIES.mean(dim=1))
    with torch.no_grad():
        readout.score.weight[0, 0] = 1e4  # selects the query with the largest first channel
    selected = QUERIES[torch.arange(2), QUERIES[:, :, 0].argmax(dim=1)]
    torch.testing.assert_close(readout(QUERIES), selected)


@pytest.mark.parametrize("kind", ["sum", "max", "attention"])
def test_readout_does_not_depend_on_query_order(kind: str) -> None:
    readout = Readout(kind, 3, 4)
    torch.testing.assert_close(readout(QUERIES), readout(QUERIES.flip(1)))
