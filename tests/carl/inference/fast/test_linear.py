from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.models.eva import EvaAttention
from torch import nn

from carl.inference.fast import linear
from carl.inference.fast.linear import PackedLinear, can_pack, pack_linears

DTYPES = (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("has_bias", [True, False])
def test_packed_linear_is_a_linear_layer(
    monkeypatch: pytest.MonkeyPatch, is_packed: bool, dtype: torch.dtype, has_bias: bool
) -> None:
    if not is_packed:
        monkeypatch.setattr(linear, "can_pack", lambda dtype: False)
    layer = nn.Linear(12, 7, bias=has_bias)
    x, residual = torch.randn(2, 5, 12), torch.randn(2, 5, 7)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    with torch.inference_mode():
        ours = PackedLinear(layer.weight, layer.bias, dtype)
        for result, expected in (
            (ours(x), layer(x)),
            (ours.gelu(x), F.gelu(layer(x))),
            (ours.add_to(residual.to(dtype), x), residual + layer(x)),
        ):
            assert result.dtype == dtype
            torch.testing.assert_close(result.float(), expected, atol=tolerance, rtol=tolerance)


def test_missing_or_wrong_operations_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    can_pack.cache_clear()
    monkeypatch.setattr(linear, "_linear", lambda x, weight, bias, then="none": x @ x.mT)
    assert not can_pack(torch.float32)
    can_pack.cache_clear()

    monkeypatch.setattr(linear, "_mkldnn", None)  # raises AttributeError
    assert not can_pack(torch.bfloat16)
    can_pack.cache_clear()


@pytest.mark.parametrize("fused", [True, False])
def test_linear_layers_are_replaced_also_with_separate_qkv_biases(fused: bool) -> None:
    attention = EvaAttention(16, num_heads=2, qkv_fused=fused, norm_layer=nn.LayerNorm)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(1, 5, 16)
    expected = attention(x)
    pack_linears(attention, torch.float32)
    kinds = {name: type(child) for name, child in attention.named_children()}
    names = {"qkv", "proj"} if fused else {"q_proj", "k_proj", "v_proj", "proj"}
    assert all(kinds[name] is PackedLinear for name in names)
    with torch.inference_mode():
        torch.testing.assert_close(attention(x), expected, atol=1e-4, rtol=1e-4)
