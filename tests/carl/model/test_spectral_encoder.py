from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from carl.model.blocks import TransformerBlock
from carl.model.config import SpectralEncoderConfig
from carl.model.spectral_encoder import SpectralEncoder, sincos_1d, take_tokens


def make(**changes: object) -> SpectralEncoder:
    values: dict[str, object] = {"embed_dim": 16, "n_queries": 3, "depth": 4, "num_heads": 2}
    torch.manual_seed(0)
    encoder = SpectralEncoder(SpectralEncoderConfig(**{**values, **changes}))  # type: ignore[arg-type]
    for parameter in encoder.parameters():  # no weight is near zero
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder.eval()


def attention(block: TransformerBlock, x: Tensor, context: Tensor) -> Tensor:
    """Compute multi-head attention with an explicit loop over the heads."""
    layer = block.attn
    q, k, v = layer.q(x), layer.k(context), layer.v(context)
    heads = []
    for q_h, k_h, v_h in zip(*(t.chunk(layer.num_heads, -1) for t in (q, k, v)), strict=True):
        scores = q_h @ k_h.transpose(1, 2) / q_h.shape[-1] ** 0.5
        heads.append(scores.softmax(-1) @ v_h)
    return layer.proj(torch.cat(heads, -1))


def explicit_forward(
    encoder: SpectralEncoder, tokens: Tensor, encoding: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the forward pass block by block from the weights."""
    tokens = tokens + encoding
    queries = (encoder.queries + encoder.queries_pos_enc).repeat(len(tokens), 1, 1)
    for index, block in enumerate(encoder.blocks):
        x = tokens if index % 2 == 0 else queries
        context = F.layer_norm(tokens, (16,), block.norm1.weight, block.norm1.bias, 1e-6)
        normed = F.layer_norm(x, (16,), block.norm1.weight, block.norm1.bias, 1e-6)
        gamma1, gamma2 = (
            layer.gamma if hasattr(layer, "gamma") else torch.ones(16)
            for layer in (block.ls1, block.ls2)
        )
        x = x + attention(block, normed, context) * gamma1
        normed = F.layer_norm(x, (16,), block.norm2.weight, block.norm2.bias, 1e-6)
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(normed))) * gamma2
        tokens, queries = (x, queries) if index % 2 == 0 else (tokens, x)
    return F.layer_norm(queries, (16,), encoder.norm.weight, encoder.norm.bias, 1e-6), tokens


@pytest.mark.parametrize("layer_scale", [None, 1e-4])
@pytest.mark.parametrize("depth", [2, 5])
def test_forward_equals_explicit_computation(depth: int, layer_scale: float | None) -> None:
    encoder = make(depth=depth, layer_scale=layer_scale)
    tokens, encoding = torch.randn(4, 6, 16), torch.randn(1, 6, 16)
    queries, refined = explicit_forward(encoder, tokens, encoding)
    output = encoder(tokens, encoding)
    torch.testing.assert_close(output.queries, queries, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.tokens, refined, atol=1e-5, rtol=1e-5)


def test_omitted_bands_have_no_influence() -> None:
    encoder = make()
    tokens, encoding = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    bands = torch.tensor([[0, 3, 4], [1, 2, 3]])
    output = encoder(tokens, encoding, bands)
    changed = tokens.clone()
    changed[0, 1:3] += 7
    changed[1, [0, 4]] -= 7
    again = encoder(changed, encoding, bands)
    assert output.tokens.shape == (2, 3, 16)
    assert torch.equal(output.queries, again.queries)
    alone = encoder(tokens[:1, [0, 3, 4]], encoding[:1, [0, 3, 4]])
    torch.testing.assert_close(output.queries[:1], alone.queries, atol=1e-6, rtol=1e-5)


def test_stochastic_depth_and_dropout_are_off_in_eval_mode() -> None:
    encoder = make(drop_path_rate=0.5, attn_drop=0.3, proj_drop=0.3, drop=0.3)
    tokens, encoding = torch.randn(2, 5, 16), torch.zeros(1, 5, 16)
    assert torch.equal(encoder(tokens, encoding).queries, encoder(tokens, encoding).queries)
    encoder.train()
    assert not torch.equal(encoder(tokens, encoding).queries, encoder(tokens, encoding).queries)


def test_take_tokens_returns_the_order_of_the_indices() -> None:
    tokens = torch.randn(2, 4, 3)
    taken = take_tokens(tokens, torch.tensor([[3, 0], [1, 1]]))
    assert torch.equal(taken[0], tokens[0, [3, 0]])
    assert torch.equal(taken[1], tokens[1, [1, 1]])


def test_sincos_encoding_equals_its_formula() -> None:
    encoding = sincos_1d(3, 8)
    assert torch.equal(encoding[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(encoding[:, 0], torch.tensor([0.0, 1.0, 2.0]).sin())
    torch.testing.assert_close(encoding[2, 5], torch.tensor(2 * 10000**-0.25).cos())
