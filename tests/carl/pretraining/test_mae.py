from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.errors import CarlError, ModelError
from carl.model import CARLConfig, build_model
from carl.model.config import (
    SpatialEncoderConfig,
    SpatialPredictorConfig,
    SpectralEncoderConfig,
    SpectralPredictorConfig,
)
from carl.pretraining.mae import CARLMAE, MAEMasking

CONFIG = CARLConfig(
    patch_size=4,
    spec_encoder_kwargs=SpectralEncoderConfig(
        16, n_queries=2, depth=2, num_heads=2, layer_scale=None
    ),
    spat_encoder_kwargs=SpatialEncoderConfig(
        "vit_tiny_patch16_224", 2, {"embed_dim": 24, "num_heads": 2, "depth": 2}
    ),
    spec_predictor_kwargs=SpectralPredictorConfig(16, depth=2, num_heads=2),
    spat_predictor_kwargs=SpatialPredictorConfig(16, depth=2, num_heads=2),
)
WAVELENGTHS = torch.linspace(0.4, 0.9, 12)


@pytest.fixture
def module() -> CARLMAE:
    torch.manual_seed(0)
    return CARLMAE(build_model(CONFIG)).train()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 10**6),
    n_patches=st.integers(1, 40),
    n_bands=st.integers(2, 60),
    patches=st.floats(0.05, 0.95),
    bands=st.floats(0.05, 0.95),
)
@settings(max_examples=60, deadline=None)
def test_predicted_bands_are_hidden(
    seed: int, n_patches: int, n_bands: int, patches: float, bands: float
) -> None:
    masks = MAEMasking(patches, bands)(2, n_patches, n_bands, seeded(seed))
    assert masks.context.shape[1] == min(max(round((1 - patches) * n_patches), 1), n_patches)
    assert masks.predicted.shape[:2] == (2, n_patches)
    assert 1 <= masks.predicted.shape[2] <= 8
    for image in range(2):
        assert (masks.context[image].diff() > 0).all()
        for index, patch in enumerate(masks.context[image].tolist()):
            visible = set(masks.bands[image, index].tolist())
            assert len(visible) == masks.bands.shape[2] >= 1
            assert not visible & set(masks.predicted[image, patch].tolist())
    part = masks.select_images(slice(1, 2))
    assert torch.equal(part.predicted[0], masks.predicted[1])


def test_prediction_does_not_depend_on_hidden_pixels(module: CARLMAE) -> None:
    image = torch.randn(2, 12, 16, 16)
    masks = module.draw_masks(image, seeded())
    patches = module.student.patchify(image).flatten(1, 2)  # (B, 16, C, P²)
    visible = torch.zeros(patches.shape[:3], dtype=torch.bool)
    for number in range(2):
        for index, patch in enumerate(masks.context[number]):
            visible[number, patch, masks.bands[number, index]] = True
    changed = torch.where(visible[..., None], patches, torch.randn_like(patches))
    other = changed.view(2, 4, 4, 12, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(image.shape)
    with torch.no_grad():
        before, after = module(image, WAVELENGTHS, masks), module(other, WAVELENGTHS, masks)
    assert torch.equal(before.prediction, after.prediction)
    assert not torch.allclose(before.target, after.target)


def test_targets_are_hidden_pixels_normalised_by_patch(module: CARLMAE) -> None:
    image = torch.rand(1, 12, 16, 16)
    masks = module.draw_masks(image, seeded())
    with torch.no_grad():
        target = module(image, WAVELENGTHS, masks).target
        brighter = module(3 * image + 5, WAVELENGTHS, masks).target
    torch.testing.assert_close(target, brighter, atol=1e-3, rtol=0)
    patch = image[0, :, 4:8, 8:12]  # row 1, column 2 of the grid
    expected = (patch - patch.mean()) / patch.std()
    bands = masks.predicted[0, 1 * 4 + 2]
    torch.testing.assert_close(target[0, 6].view(-1, 4, 4), expected[bands], atol=1e-4, rtol=0)


def test_loss_decreases(module: CARLMAE) -> None:
    spectra = torch.stack([WAVELENGTHS.sin(), (9 * WAVELENGTHS).cos(), WAVELENGTHS**2])
    abundance = torch.rand(8, 3, 16, 16, generator=seeded())
    image = torch.einsum("bkhw,kc->bchw", abundance, spectra)
    image = (image - image.mean()) / image.std()
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        masks = module.draw_masks(image, seeded(step))
        loss = module.loss(module(image, WAVELENGTHS, masks)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert all(each.grad is not None for each in module.student.parameters())


def test_any_grid_and_two_bands_are_accepted(module: CARLMAE) -> None:
    image = torch.randn(2, 2, 14, 9)
    output = module(image, WAVELENGTHS[:2], module.draw_masks(image, seeded()))
    assert output.prediction.shape == output.target.shape == (2, 4 * 3, 16)
    assert torch.isfinite(module.loss(output).total)


def test_invalid_masking_is_refused() -> None:
    with pytest.raises(ModelError, match="two bands"):
        MAEMasking()(1, 4, 1)
    with pytest.raises(CarlError, match=r"mae\.hidden_patches is 1"):
        MAEMasking(hidden_patches=1.0)
    with pytest.raises(CarlError, match=r"mae\.predicted_bands is 0"):
        MAEMasking(predicted_bands=0)
    with pytest.raises(ModelError, match="no predictors"):
        CARLMAE(build_model(replace(CONFIG, spec_predictor_kwargs=None)))
