from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from carl.errors import CarlError
from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.pretraining.statistics import (
    CARLStatistics,
    RunningScale,
    StatisticsMasking,
    TruthHeads,
    contrast_error,
    neighbourhood_statistics,
)
from carl.pretraining.statistics_targets import (
    N_COMPONENTS,
    N_PARAMETERS,
    N_REGIONS,
    N_TRUTHS,
    patch_moments,
    patch_truth,
    scene_truth,
)
from carl.simulation import KINDS, PARAMETERS, REGIONS, gaussian_camera, simulate_scene

NM = np.linspace(420, 740, 9)


def tiny_network() -> CARL:
    torch.manual_seed(0)
    config = CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=16, n_queries=2, depth=2, num_heads=2),
        spat_encoder_kwargs=SpatialEncoderConfig(
            "vit_tiny_patch16_224", 1, {"embed_dim": 24, "num_heads": 2, "depth": 1}
        ),
    )
    return CARL(config)


def crop(seed: int = 0, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1, (side, side, 9)).astype(np.float32)


def test_patch_moments_equal_moments_of_single_pixels():
    values = crop()
    moments = patch_moments(values, NM, 0.5, 0.25, 4)
    assert moments.shape == (2 * N_COMPONENTS, 4, 4)
    alone = np.stack(
        [
            patch_moments(np.broadcast_to(pixel, (4, 4, 9)), NM, 0.5, 0.25, 4)[:, 0, 0]
            for pixel in values[4:8, 8:12].reshape(-1, 9)
        ]
    )[:, :N_COMPONENTS]
    np.testing.assert_allclose(moments[:8, 1, 2], alone[:, :8].mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        moments[N_COMPONENTS : N_COMPONENTS + 8, 1, 2],
        (alone[:, :8] ** 2).mean(axis=0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_uncovered_wavelength_range_is_nan():
    moments = patch_moments(crop(), NM, 0.5, 0.25, 4)
    half = N_COMPONENTS // 2
    known = np.isfinite(moments).all(axis=(1, 2))
    assert known.tolist() == ([True] * half + [False] * half) * 2


def test_patch_moments_do_not_depend_on_band_order():
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(
        patch_moments(crop()[..., order], NM[order], 0.5, 0.25, 4),
        patch_moments(crop(), NM, 0.5, 0.25, 4),
        rtol=1e-4,
        atol=1e-5,
    )


def test_neighbourhood_statistics_equal_scipy_gaussian_filter():
    maps = torch.rand(2, 2, 9, 11) + torch.tensor([0.0, 3.0])[:, None, None]
    statistics = neighbourhood_statistics(maps)
    weight = ndimage.gaussian_filter(np.ones((9, 11)), 2, mode="constant", truncate=3)
    for image in range(2):
        mean = ndimage.gaussian_filter(
            maps[image, 0].double().numpy(), 2, mode="constant", truncate=3
        )
        np.testing.assert_allclose(statistics[image, 4], mean / weight, rtol=1e-4)
    spread = 0.5 * torch.log(maps[:, 1] - maps[:, 0] ** 2)
    torch.testing.assert_close(statistics[:, 1], spread)


def test_fraction_of_hidden_patches():
    hidden = StatisticsMasking(0.6)
    fractions = [
        1 - hidden(4, (8, 8), torch.Generator().manual_seed(seed)).visible.float().mean()
        for seed in range(30)
    ]
    assert max(fractions) < 0.75
    assert min(fractions) < 0.15
    with pytest.raises(CarlError, match="fraction below 1"):
        StatisticsMasking(1.0)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    values = np.stack([crop(seed) for seed in range(3)])
    moments = np.stack([patch_moments(each, NM, 0.5, 0.25, 4) for each in values])
    image = torch.from_numpy(values[..., ::2]).movedim(-1, 1)
    wavelengths = torch.from_numpy(NM[::2] / 1000).float()
    unknown = torch.full((3, N_TRUTHS, 4, 4), torch.nan)
    return image, wavelengths, torch.from_numpy(moments), unknown


def test_loss_decreases_and_every_weight_has_a_gradient():
    objective = CARLStatistics(tiny_network())
    image, wavelengths, moments, truth = batch()
    masks = objective.draw_masks(image, torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        loss = objective.loss(objective(image, wavelengths, masks, moments, truth))
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(loss.total))
    assert losses[-1] < 0.8 * losses[0]
    used = {name for name, each in objective.named_parameters() if each.grad is not None}
    unused = {name for name, _ in objective.student.named_parameters(prefix="student")} - used
    assert not unused


def test_scaled_targets_have_mean_0_and_variance_1():
    objective = CARLStatistics(tiny_network())
    image, wavelengths, moments, truth = batch()
    output = objective(image, wavelengths, objective.draw_masks(image), moments, truth)
    objective.loss(output)
    known = output.target.isfinite().all(dim=(0, 2, 3))
    scaled = objective.scale(output.target)
    torch.testing.assert_close(scaled[:, known].mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        scaled[:, known].square().mean(dim=(0, 2, 3)),
        torch.ones(int(known.sum())),
        atol=1e-2,
        rtol=0,
    )
    before = objective.scale.mean.clone()
    objective.eval()
    objective.loss(output)
    torch.testing.assert_close(objective.scale.mean, before)


def test_batch_without_known_targets_has_no_gradient():
    objective = CARLStatistics(tiny_network())
    image, wavelengths, moments, truth = batch()
    unknown = torch.full_like(moments, torch.nan)
    loss = objective.loss(
        objective(image, wavelengths, objective.draw_masks(image), unknown, truth)
    )
    loss.total.backward()
    assert float(loss.total) == 0
    assert all(float(each.grad.abs().sum()) == 0 for each in objective.student.parameters())


def test_contrast_error_is_relative_to_the_contrast_of_each_image():
    contrast = torch.randn(2, 1, 6, 6)
    contrast -= contrast.mean(dim=(2, 3), keepdim=True)
    contrast /= contrast.flatten(1).std(dim=1, correction=0)[:, None, None, None]
    target = torch.tensor([0.2, 20.0])[:, None, None, None] * contrast + 300
    error = contrast_error(target * 1.3 - 50, target, 0.1)  # 30 % too strong, whatever the level
    expected = F.smooth_l1_loss(1.3 * contrast, contrast)
    torch.testing.assert_close(error, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(contrast_error(target, target + 7, 0.1), torch.tensor(0.0))
    faint = contrast_error(0.01 * contrast, torch.zeros_like(contrast), 0.1)
    torch.testing.assert_close(faint, torch.tensor(0.5 * 0.1**2))
    target[0] = torch.nan
    known = contrast_error(torch.zeros_like(target), target, 0.1)
    torch.testing.assert_close(
        known, F.smooth_l1_loss(0 * contrast[1], contrast[1]), rtol=1e-3, atol=0
    )


CAMERA = gaussian_camera(np.linspace(420, 700, 5), 30)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_has_exactly_one_region(kind):
    for seed in range(5):
        scene = simulate_scene(np.random.default_rng(seed), (24, 16), CAMERA, kind)
        truth = scene_truth(scene)
        assert truth.shape == (24, 16, N_TRUTHS)
        fractions = truth[..., N_PARAMETERS:]
        np.testing.assert_array_equal(fractions.sum(axis=2), 1)
        names = [(each, name) for each in KINDS for name in REGIONS[each]]
        regions = np.array([name for _, name in names])[fractions.argmax(axis=2)]
        np.testing.assert_array_equal(regions, np.array(scene.classes)[scene.labels - 1])
        assert {names[i][0] for i in np.unique(fractions.argmax(axis=2))} == {kind}


def test_undefined_parameters_are_nan():
    scene = simulate_scene(np.random.default_rng(0), (16, 16), CAMERA, "section")
    truth = scene_truth(scene)
    for i, name in enumerate(PARAMETERS):
        np.testing.assert_array_equal(np.isnan(truth[..., i]), np.isnan(scene.parameters[name]))
    oxygenation = PARAMETERS.index("oxygenation")
    np.testing.assert_array_equal(truth[..., oxygenation], scene.parameters["oxygenation"])
    eosin = truth[..., PARAMETERS.index("eosin")]
    np.testing.assert_allclose(np.exp(eosin) - 0.02, scene.parameters["eosin"], atol=1e-5)


def test_patch_truth_is_mean_over_pixels_or_nan():
    truth = np.random.default_rng(0).random((8, 8, N_TRUTHS)).astype(np.float32)
    truth[5, 6, 0] = np.nan
    patches = patch_truth(truth, 8, 4)
    np.testing.assert_allclose(patches[3, 0, 1], truth[:4, 4:, 3].mean(), rtol=1e-5)
    assert np.isnan(patches[0, 1, 1])
    assert np.isfinite(patches).sum() == patches.size - 1
    assert np.isnan(patch_truth(None, 8, 4)).all()


def test_running_scale_ignores_unknown_targets():
    scale = RunningScale(2)
    target = torch.randn(4, 2, 5, 5) * torch.tensor([3.0, 0.1])[:, None, None] + 7
    target[0, 1, :2] = torch.nan
    scale.update(target)
    known = target[:, 1][target[:, 1].isfinite()]
    torch.testing.assert_close(scale.mean[1], known.mean())
    torch.testing.assert_close(scale.variance[1], known.var(correction=0))
    scale.update(torch.full_like(target, torch.nan))
    torch.testing.assert_close(scale.mean[1], known.mean())


def test_truth_heads_fit_simulated_scenes():
    torch.manual_seed(0)
    scenes = [
        simulate_scene(np.random.default_rng(seed), (16, 16), CAMERA, kind)
        for seed, kind in enumerate(KINDS)
    ]
    target = torch.from_numpy(np.stack([patch_truth(scene_truth(s), 16, 4) for s in scenes]))
    features = torch.randn(4, 64, 4, 4, requires_grad=True)
    heads = TruthHeads(64)
    heads.scale.update(target[:, :N_PARAMETERS])
    optimiser = torch.optim.Adam([features, *heads.parameters()], lr=0.05)
    errors = []
    for _ in range(60):
        parameters, regions = heads.error(heads(features, features)[0], target)
        optimiser.zero_grad()
        (parameters + regions).backward()
        optimiser.step()
        errors.append((float(parameters), float(regions)))
    entropy = -(target[:, N_PARAMETERS:].clamp_min(1e-9).log() * target[:, N_PARAMETERS:])
    minimum = float(entropy.sum(dim=1).mean())
    assert errors[0][1] == pytest.approx(np.log(N_REGIONS), abs=0.5)
    assert errors[-1][1] - minimum < 0.1
    assert errors[-1][0] < 0.2 * errors[0][0]


def test_images_without_truth_have_no_gradient():
    features = torch.randn(2, 8, 3, 3, requires_grad=True)
    heads = TruthHeads(8)
    target = torch.full((2, N_TRUTHS, 3, 3), torch.nan)
    parameters, regions = heads.error(heads(features, features)[0], target)
    (parameters + regions).backward()
    assert float(parameters) == float(regions) == 0
    assert features.grad is not None
    assert not features.grad.any()
