from __future__ import annotations

import math

import pytest
import torch

from carl.model import CARLConfig, build_model
from carl.pretraining.lightning_module import learning_rate_course, terms_of
from carl.pretraining.losses import LossTerms
from carl.pretraining.module import CARLSSL, SSLLoss
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


def test_the_learning_rate_falls_as_half_a_cosine() -> None:
    course = learning_rate_course(OptimiserConfig(1e-3, 1e-5), 100)
    assert [course(step) for step in (0, 50, 100, 120)] == pytest.approx([1, 0.505, 0.01, 0.01])
    assert course(25) == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_the_learning_rate_rises_first_and_is_held() -> None:
    rising = learning_rate_course(OptimiserConfig(warmup_steps=4), 100)
    assert [rising(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    held = learning_rate_course(OptimiserConfig(hold_steps=10), 100)
    assert held(10) == held(19) != held(20)
    plain = learning_rate_course(OptimiserConfig(), 100)
    assert held(30) == plain(30)


def test_each_image_takes_its_own_masks_along() -> None:
    """What two processes draw for their halves is what one draws for the whole."""
    torch.manual_seed(0)
    module = CARLSSL(build_model(with_predictors(CARLConfig.from_dict(SMALL)))).eval()
    image, nm = torch.randn(6, 24, 16, 16), torch.linspace(0.4, 0.9, 24)
    masks = module.draw_masks(image, torch.Generator().manual_seed(0))
    assert masks.selected.shape == (6,)
    with torch.no_grad():
        whole = module(image, nm, masks)
        halves = [
            module(image[part], nm, masks.of_images(part)) for part in (slice(0, 3), slice(3, 6))
        ]
    for name in whole._fields:
        parts = [getattr(half, name).unflatten(0, (-1, 3)) for half in halves]  # (T, B/2, ...)
        together = torch.cat(parts, dim=1).flatten(0, 1)
        torch.testing.assert_close(together, getattr(whole, name), atol=1e-5, rtol=0)


def test_terms_are_named_by_their_branch() -> None:
    one = torch.tensor(1.0)
    loss = SSLLoss(one, LossTerms(one, one, one, one), LossTerms(one, one, one, one))
    assert set(terms_of(loss)) == {
        "total", "spatial/total", "spatial/invariance", "spatial/variance", "spatial/covariance",
        "spectral/total", "spectral/invariance", "spectral/variance", "spectral/covariance",
    }  # fmt: skip
