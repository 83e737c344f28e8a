from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from carl.errors import ModelError, WavelengthError
from carl.model import CARLConfig, build_model
from carl.model.config import (
    SpatialEncoderConfig,
    SpatialPredictorConfig,
    SpectralEncoderConfig,
    SpectralPredictorConfig,
)
from carl.pretraining.carl_ssl import (
    CARLSSL,
    SSLMasks,
    momentum_at,
    read_ssl_checkpoint,
    update_teacher,
)
from carl.pretraining.masking import SpatialMasks, SpectralMasks

CONFIG = CARLConfig(
    patch_size=4,
    spec_encoder_kwargs=SpectralEncoderConfig(
        16, n_queries=3, depth=4, num_heads=2, layer_scale=None
    ),
    spat_encoder_kwargs=SpatialEncoderConfig(
        "vit_tiny_patch16_224", 2, {"embed_dim": 24, "num_heads": 2, "depth": 2}
    ),
    spec_predictor_kwargs=SpectralPredictorConfig(16, depth=2, num_heads=2),
    spat_predictor_kwargs=SpatialPredictorConfig(16, depth=2, num_heads=2),
)
WAVELENGTHS = torch.linspace(0.4, 0.9, 24)


@pytest.fixture
def module() -> CARLSSL:
    torch.manual_seed(0)
    return CARLSSL(build_model(CONFIG)).train()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", ["vit_small_case", "eva_small_case"])
def test_step_equals_original_implementation(carl_reference: Path, case: str) -> None:
    folder = carl_reference / case
    module = read_ssl_checkpoint(folder / "checkpoint.ckpt", folder / "config.json")
    with np.load(folder / "ssl_step_60ch.npz", allow_pickle=False) as file:
        reference = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    context = reference["spatial_context"][0]
    batch, n_patches = len(context), 16
    # The original draws band masks for all patches but uses only those of visible ones.
    visible = (context + n_patches * torch.arange(batch)[:, None]).flatten()
    masks = SSLMasks(
        SpatialMasks(context, reference["spatial_targets"]),
        SpectralMasks(
            reference["spectral_context"][0, visible], reference["spectral_targets"][:, visible]
        ),
        reference["selected_sequences"],
    )
    with torch.no_grad():
        output = module(reference["image"], reference["wavelengths_um"], masks)
        loss = module.loss(output)
    for name, value in output._asdict().items():
        torch.testing.assert_close(value, reference[name], atol=1e-4, rtol=0, msg=name)
    for name in ("spatial", "spectral"):
        terms = torch.stack(getattr(loss, name)).double()
        torch.testing.assert_close(terms, reference[f"{name}_loss"], atol=1e-4, rtol=0)
    assert abs(float(loss.total) - float(reference["total_loss"])) <= 1e-4


def test_any_grid_and_few_bands_are_accepted(module: CARLSSL) -> None:
    for shape in ((2, 5, 24, 32), (3, 24, 22, 18)):
        image = torch.randn(shape)
        masks = module.draw_masks(image, seeded())
        output = module(image, WAVELENGTHS[: shape[1]], masks)
        loss = module.loss(output)
        assert torch.isfinite(loss.total)
        assert output.spatial_prediction.shape == output.spatial_target.shape
        assert output.spectral_prediction.shape == output.spectral_target.shape
        for value in output:
            torch.testing.assert_close(
                value.mean(-1), torch.zeros(value.shape[:2]), atol=1e-5, rtol=0
            )


def test_predictions_do_not_depend_on_hidden_patches_and_bands(module: CARLSSL) -> None:
    image = torch.randn(2, 24, 32, 32)
    masks = module.draw_masks(image, seeded())
    patches = module.student.patchify(image).flatten(1, 2)  # (B, 64, C, P²)
    visible = torch.zeros(patches.shape[:3], dtype=torch.bool)
    for sequence, bands in enumerate(masks.spectral.context):
        row, column = divmod(sequence, masks.spatial.context.shape[1])
        visible[row, masks.spatial.context[row, column], bands] = True
    changed = torch.where(visible[..., None], patches, torch.randn_like(patches))
    other = changed.view(2, 8, 8, 24, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(image.shape)
    with torch.no_grad():
        before, after = module(image, WAVELENGTHS, masks), module(other, WAVELENGTHS, masks)
    assert torch.equal(before.spatial_prediction, after.spatial_prediction)
    assert torch.equal(before.spectral_prediction, after.spectral_prediction)
    assert not torch.allclose(before.spatial_target, after.spatial_target)
    assert not torch.allclose(before.spectral_target, after.spectral_target)


def test_student_is_trained_and_teacher_only_updated_by_ema(module: CARLSSL) -> None:
    image, before = torch.randn(4, 24, 32, 32), module.teacher.fingerprint
    trained = [each for each in module.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=3e-3)
    losses = []
    for _ in range(30):
        masks = module.draw_masks(image, seeded(1))
        loss = module.loss(module(image, WAVELENGTHS, masks)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert all(each.grad is not None for each in module.student.parameters())
    assert all(each.grad is None for each in module.teacher.parameters())
    assert module.teacher.fingerprint == before
    module.update_teacher(0.5)
    assert module.teacher.fingerprint not in (before, module.student.fingerprint)


def test_teacher_stays_in_eval_mode(module: CARLSSL) -> None:
    module.teacher.spatial_encoder.pos_drop = nn.Dropout(0.5)
    assert not any(part.training for part in module.train().teacher.modules())
    assert module.student.training


def test_masks_are_reproducible_by_seed(module: CARLSSL) -> None:
    image = torch.zeros(2, 24, 32, 32)
    first, again = (module.draw_masks(image, seeded(3)) for _ in range(2))
    assert torch.equal(first.spatial.context, again.spatial.context)
    assert torch.equal(first.spectral.targets, again.spectral.targets)
    assert torch.equal(first.selected, again.selected)
    assert len(first.selected.unique()) == 2


def test_bf16_loss_is_close_to_float32_loss(module: CARLSSL) -> None:
    image = torch.randn(2, 24, 32, 32)
    masks = module.draw_masks(image, seeded())
    exact = module.loss(module(image, WAVELENGTHS, masks)).total
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module.loss(module(image, WAVELENGTHS, masks)).total
    mixed.backward()
    assert float(mixed) == pytest.approx(float(exact), rel=0.05)


def test_invalid_input_is_refused(module: CARLSSL) -> None:
    image = torch.randn(2, 24, 32, 32)
    with pytest.raises(WavelengthError, match="nm"):
        module(image, 1000 * WAVELENGTHS, module.draw_masks(image))
    with pytest.raises(ModelError, match="spec_predictor_kwargs"):
        CARLSSL(build_model("carl-nano"))


def test_momentum_rises_linearly_to_its_end_value() -> None:
    values = [momentum_at(step, 100) for step in (0, 50, 100, 150)]
    assert values == pytest.approx([0.996, (0.996 + 0.99999) / 2, 0.99999, 0.99999])


def test_teacher_is_exponential_moving_average_of_students() -> None:
    student = nn.Linear(3, 2)
    teacher = copy.deepcopy(student).requires_grad_(False)
    expected = student.weight.detach().clone()
    for _ in range(4):
        with torch.no_grad():
            student.weight.add_(torch.randn(2, 3))
        expected = 0.9 * expected + 0.1 * student.weight.detach()
        update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight, expected)
    assert teacher.weight.grad_fn is None
