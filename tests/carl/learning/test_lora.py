from __future__ import annotations

import torch
from timm.layers import Attention
from timm.models.eva import EvaAttention
from torch import nn

from carl.learning.lora import add_adapters, merge_adapters


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        Attention(16, num_heads=2),
        EvaAttention(16, num_heads=2, norm_layer=nn.LayerNorm),
        nn.Linear(16, 3),
    ).eval()


def perturb(parameters: list[nn.Parameter]) -> None:
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.1 * torch.randn_like(parameter)


def test_adapted_network_initially_equals_the_original() -> None:
    model, tokens = network(), torch.randn(2, 5, 16)
    before = model(tokens)
    added = add_adapters(model, rank=4)
    torch.testing.assert_close(model(tokens), before)
    # qkv and projection of two attentions: two thin matrices each
    assert len(added) == 8
    assert sum(p.numel() for p in added) == 2 * (4 * (16 + 48) + 4 * (16 + 16))


def test_every_adapter_has_a_gradient_and_only_attentions_are_adapted() -> None:
    model = network()
    added = add_adapters(model, rank=2)
    perturb(added)
    model(torch.randn(2, 5, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in added)
    assert "weight" in dict(model[2].named_parameters())


def test_merging_preserves_outputs_and_weight_names() -> None:
    model, tokens = network(), torch.randn(2, 5, 16)
    names, before = list(model.state_dict()), model(tokens)
    perturb(add_adapters(model))
    adapted = model(tokens)
    merge_adapters(model)
    torch.testing.assert_close(model(tokens), adapted)
    assert not torch.allclose(adapted, before)
    assert sorted(model.state_dict()) == sorted(names)
    assert isinstance(model[0].qkv, nn.Linear)
    assert type(model[0].qkv) is nn.Linear
