from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from carl.errors import CarlError
from carl.model import CARL, CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.pretraining.scales import contrast_error
from carl.pretraining.statistics import (
    N_COMPONENTS,
    CARLStatistics,
    StatisticsMasking,
    neighbourhood_statistics,
    patch_moments,
)
from carl.pretraining.truth import N_TRUTHS

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


def test_moments_are_those_of_the_pixels_of_a_patch():
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


def test_a_range_the_camera_does_not_cover_is_unknown():
    moments = patch_moments(crop(), NM, 0.5, 0.25, 4)
    half = N_COMPONENTS // 2
    known = np.isfinite(moments).all(axis=(1, 2))
    assert known.tolist() == ([True] * half + [False] * half) * 2


def test_order_of_bands_does_not_matter():
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(
        patch_moments(crop()[..., order], NM[order], 0.5, 0.25, 4),
        patch_moments(crop(), NM, 0.5, 0.25, 4),
        rtol=1e-4,
        atol=1e-5,
    )


def test_neighbourhoods_are_gaussian_means_inside_the_image():
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


def test_hidden_patches_are_a_share():
    hidden = StatisticsMasking(0.6)
    shares = [
        1 - hidden(4, (8, 8), torch.Generator().manual_seed(seed)).visible.float().mean()
        for seed in range(30)
    ]
    assert max(shares) < 0.75
    assert min(shares) < 0.15
    with pytest.raises(CarlError, match="share below 1"):
        StatisticsMasking(1.0)


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    values = np.stack([crop(seed) for seed in range(3)])
    moments = np.stack([patch_moments(each, NM, 0.5, 0.25, 4) for each in values])
    image = torch.from_numpy(values[..., ::2]).movedim(-1, 1)
    wavelengths = torch.from_numpy(NM[::2] / 1000).float()
    unknown = torch.full((3, N_TRUTHS, 4, 4), torch.nan)
    return image, wavelengths, torch.from_numpy(moments), unknown


def test_the_loss_falls_and_reaches_every_weight():
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


def test_targets_have_variance_one_once_followed():
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


def test_a_batch_that_shows_no_known_range_teaches_nothing():
    objective = CARLStatistics(tiny_network())
    image, wavelengths, moments, truth = batch()
    unknown = torch.full_like(moments, torch.nan)
    loss = objective.loss(
        objective(image, wavelengths, objective.draw_masks(image), unknown, truth)
    )
    loss.total.backward()
    assert float(loss.total) == 0
    assert all(float(each.grad.abs().sum()) == 0 for each in objective.student.parameters())


def test_what_differs_within_an_image_counts_whatever_differs_between_images():
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
