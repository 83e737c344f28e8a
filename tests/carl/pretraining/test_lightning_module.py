from __future__ import annotations

import math

import pytest
import torch

from carl.model import CARLConfig, build_model
from carl.pretraining.carl_ssl import CARLSSL, SSLLoss
from carl.pretraining.lightning_module import learning_rate_schedule, loss_terms
from carl.pretraining.losses import VICRegTerms
from carl.pretraining.pretrain_config import OptimiserConfig, with_predictors

SMALL = {
    "patch_size": 4,
    "spec_encoder_kwargs": {"embed_dim": 8, "depth": 2, "num_heads": 2, "layer_scale": None},
    "spat_encoder_kwargs": {
        "model_name": "vit_tiny_patch16_224",
        "depth": 1,
        "model_kwargs": {"embed_dim": 8, "num_heads": 2, "depth": 1},
    },
}


def test_learning_rate_falls_along_half_a_cosine() -> None:
    schedule = learning_rate_schedule(OptimiserConfig(1e-3, 1e-5), 100)
    assert [schedule(step) for step in (0, 50, 100, 120)] == pytest.approx([1, 0.505, 0.01, 0.01])
    assert schedule(25) == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_learning_rate_warms_up_and_is_held() -> None:
    rising = learning_rate_schedule(OptimiserConfig(warmup_steps=4), 100)
    assert [rising(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    held = learning_rate_schedule(OptimiserConfig(hold_steps=10), 100)
    assert held(10) == held(19) != held(20)
    plain = learning_rate_schedule(OptimiserConfig(), 100)
    assert held(30) == plain(30)


def test_masks_of_a_part_of_the_images_give_the_same_output() -> None:
    """Two processes with half of the images each compute what one computes for all."""
    torch.manual_seed(0)
    module = CARLSSL(build_model(with_predictors(CARLConfig.from_dict(SMALL)))).eval()
    image, nm = torch.randn(6, 24, 16, 16), torch.linspace(0.4, 0.9, 24)
    masks = module.draw_masks(image, torch.Generator().manual_seed(0))
    assert masks.selected.shape == (6,)
    with torch.no_grad():
        whole = module(image, nm, masks)
        halves = [
            module(image[part], nm, masks.select_images(part))
            for part in (slice(0, 3), slice(3, 6))
        ]
    for name in whole._fields:
        parts = [getattr(half, name).unflatten(0, (-1, 3)) for half in halves]  # (T, B/2, ...)
        together = torch.cat(parts, dim=1).flatten(0, 1)
        torch.testing.assert_close(together, getattr(whole, name), atol=1e-5, rtol=0)


def test_loss_terms_are_named_by_branch() -> None:
    one = torch.tensor(1.0)
    loss = SSLLoss(one, VICRegTerms(one, one, one, one), VICRegTerms(one, one, one, one))
    assert set(loss_terms(loss)) == {
        "total", "spatial/total", "spatial/invariance", "spatial/variance", "spatial/covariance",
        "spectral/total", "spectral/invariance", "spectral/variance", "spectral/covariance",
    }  # fmt: skip
