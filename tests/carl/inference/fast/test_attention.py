from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from carl.inference.fast import attention
from carl.inference.fast.attention import FastAttention, attend


@pytest.mark.parametrize("scores", [1, 200, 1 << 22])
def test_bf16_attention_is_close_to_float32_attention(
    monkeypatch: pytest.MonkeyPatch, scores: int
) -> None:
    monkeypatch.setattr(attention, "_MAX_SCORES", scores)
    q, k, v = torch.randn(3, 5, 2, 7, 16)
    expected = F.scaled_dot_product_attention(q, k, v, scale=0.3)
    torch.testing.assert_close(attend(q, k, v, 0.3), expected)
    rounded = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), 0.3)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), expected, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("size", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("shift", [-200.0, 0.0, 200.0])
def test_bf16_attention_is_correct_for_scores_whose_exponentials_overflow(
    size: float, shift: float
) -> None:
    q, k, v = torch.randn(3, 2, 2, 7, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    q, k = q * size, k.clone()
    q[..., 0], k[..., 0] = shift, 1.0
    scores = (q.float() @ k.float().mT * 0.25).bfloat16()  # large scores are rounded
    expected = scores.double().softmax(-1) @ v.double()
    torch.testing.assert_close(attend(q, k, v, 0.25).double(), expected, atol=0.03, rtol=0.03)


def test_bf16_attention_propagates_nan() -> None:
    q, k, v = torch.randn(3, 1, 1, 5, 16).bfloat16()
    q[..., 0, 0] = torch.nan
    assert attend(q, k, v, 1.0)[..., 0, :].isnan().all()


def test_fast_attention_replaces_plain_attention_without_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[float] = []

    def recorded(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        calls.append(scale)
        return attend(q, k, v, scale)

    monkeypatch.setattr(attention, "attend", recorded)
    q, k, v = torch.randn(3, 1, 2, 7, 16).bfloat16()
    mask = torch.zeros(7, 7, dtype=torch.bfloat16)
    plain = F.scaled_dot_product_attention(q, k, v)
    with FastAttention():
        fast = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0)
        F.scaled_dot_product_attention(q, k, v, scale=0.5)
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    assert calls == [0.25, 0.5]
    torch.testing.assert_close(fast, plain, atol=0.03, rtol=0.03)
