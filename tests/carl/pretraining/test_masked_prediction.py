from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from carl.model.checkpoint import read_state_dict
from carl.model.config import SpatialPredictorConfig, SpectralPredictorConfig
from carl.pretraining.masked_prediction import SpatialPredictor, SpectralPredictor, sincos_2d


def spectral(width: int = 16) -> SpectralPredictor:
    torch.manual_seed(0)
    config = SpectralPredictorConfig(predictor_embed_dim=width, depth=2, num_heads=2)
    return SpectralPredictor(config, embed_dim=16, n_queries=3).eval()


def spatial() -> SpatialPredictor:
    torch.manual_seed(0)
    config = SpatialPredictorConfig(predictor_embed_dim=8, depth=2, num_heads=2)
    return SpatialPredictor(config, embed_dim=12).eval()


@pytest.mark.parametrize("width", [16, 24])
def test_hidden_bands_are_predicted_from_their_own_wavelengths(width: int) -> None:
    predictor = spectral(width)
    queries, wavelengths = torch.randn(4, 3, 16), torch.rand(4, 9) + 0.4
    targets = torch.stack([torch.arange(4) % 3 + k for k in range(3)], dim=-1).expand(2, 4, 3)
    predicted = predictor(queries, wavelengths, targets)
    assert predicted.shape == (8, 3, 16)
    visible = torch.ones(4, 9, dtype=torch.bool).scatter(1, targets[0], False)
    other = torch.where(visible, wavelengths + 1, wavelengths)
    assert torch.equal(predictor(queries, other, targets), predicted)
    other = wavelengths.scatter(1, targets[0], 2.0)
    assert not torch.allclose(predictor(queries, other, targets), predicted)


def test_sets_of_hidden_bands_are_predicted_independently() -> None:
    predictor = spectral()
    queries, wavelengths = torch.randn(2, 3, 16), torch.rand(2, 9) + 0.4
    first, second = torch.tensor([[0, 1], [4, 5]]), torch.tensor([[3, 4], [7, 8]])
    together = predictor(queries, wavelengths, torch.stack([first, second]))
    alone = predictor(queries, wavelengths, second[None])
    torch.testing.assert_close(together[2:], alone, atol=1e-6, rtol=1e-5)


def test_sets_of_hidden_patches_are_predicted_independently() -> None:
    predictor = spatial()
    features, context = torch.randn(2, 4, 12), torch.tensor([[0, 1, 2, 5], [3, 4, 8, 9]])
    first, second = torch.tensor([[6, 7], [0, 1]]), torch.tensor([[10, 11], [6, 7]])
    together = predictor(features, context, torch.stack([first, second]), (3, 4))
    assert together.shape == (4, 2, 12)
    alone = predictor(features, context, second[None], (3, 4))
    torch.testing.assert_close(together[2:], alone, atol=1e-6, rtol=1e-5)


def test_prediction_depends_on_position_of_hidden_patch() -> None:
    predictor = spatial()
    for parameter in predictor.parameters():
        nn.init.normal_(parameter, std=0.3)
    features, context = torch.randn(1, 2, 12), torch.tensor([[0, 1]])
    here, there = (
        predictor(features, context, torch.tensor([[[position]]]), (3, 4)) for position in (6, 11)
    )
    assert not torch.allclose(here, there)


def test_position_code_concatenates_column_and_row() -> None:
    code = sincos_2d((3, 4), 8)
    assert code.shape == (12, 8)
    for row in range(3):
        for column in range(4):
            position = code[row * 4 + column]
            assert torch.equal(position[:4], code[column][:4])
            assert torch.equal(position[4:], code[row * 4][4:])


@pytest.mark.parametrize("case", ["vit_small_case", "eva_small_case"])
def test_position_code_equals_original(carl_reference: Path, case: str) -> None:
    state = read_state_dict(carl_reference / case / "checkpoint.ckpt")
    saved = state["model.spatial_predictor.predictor_pos_embed"][0]
    torch.testing.assert_close(sincos_2d((4, 4), saved.shape[1]), saved, atol=1e-6, rtol=0)
