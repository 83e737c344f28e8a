from __future__ import annotations

import numpy as np
import pytest
import torch

from carl.pretraining.scales import RunningScale
from carl.pretraining.truth import (
    N_PARAMETERS,
    N_REGIONS,
    N_TRUTHS,
    TruthHeads,
    patch_truth,
    scene_truth,
)
from carl.simulation import KINDS, PARAMETERS, REGIONS, gaussian_camera, simulate_scene

CAMERA = gaussian_camera(np.linspace(420, 700, 5), 30)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_of_every_scene_has_one_region(kind):
    for seed in range(5):
        scene = simulate_scene(np.random.default_rng(seed), (24, 16), CAMERA, kind)
        truth = scene_truth(scene)
        assert truth.shape == (24, 16, N_TRUTHS)
        shares = truth[..., N_PARAMETERS:]
        np.testing.assert_array_equal(shares.sum(axis=2), 1)
        names = [(each, name) for each in KINDS for name in REGIONS[each]]
        told = np.array([name for _, name in names])[shares.argmax(axis=2)]
        np.testing.assert_array_equal(told, np.array(scene.classes)[scene.labels - 1])
        assert {names[i][0] for i in np.unique(shares.argmax(axis=2))} == {kind}


def test_parameters_are_known_where_they_mean_something():
    scene = simulate_scene(np.random.default_rng(0), (16, 16), CAMERA, "section")
    truth = scene_truth(scene)
    for i, name in enumerate(PARAMETERS):
        np.testing.assert_array_equal(np.isnan(truth[..., i]), np.isnan(scene.parameters[name]))
    oxygenation = PARAMETERS.index("oxygenation")
    np.testing.assert_array_equal(truth[..., oxygenation], scene.parameters["oxygenation"])
    eosin = truth[..., PARAMETERS.index("eosin")]
    np.testing.assert_allclose(np.exp(eosin) - 0.02, scene.parameters["eosin"], atol=1e-5)


def test_patches_hold_means_and_know_what_all_their_pixels_know():
    truth = np.random.default_rng(0).random((8, 8, N_TRUTHS)).astype(np.float32)
    truth[5, 6, 0] = np.nan
    patches = patch_truth(truth, 8, 4)
    np.testing.assert_allclose(patches[3, 0, 1], truth[:4, 4:, 3].mean(), rtol=1e-5)
    assert np.isnan(patches[0, 1, 1])
    assert np.isfinite(patches).sum() == patches.size - 1
    assert np.isnan(patch_truth(None, 8, 4)).all()


def test_the_scale_is_that_of_what_is_known():
    scale = RunningScale(2)
    target = torch.randn(4, 2, 5, 5) * torch.tensor([3.0, 0.1])[:, None, None] + 7
    target[0, 1, :2] = torch.nan
    scale.follow(target)
    known = target[:, 1][target[:, 1].isfinite()]
    torch.testing.assert_close(scale.mean[1], known.mean())
    torch.testing.assert_close(scale.variance[1], known.var(correction=0))
    scale.follow(torch.full_like(target, torch.nan))
    torch.testing.assert_close(scale.mean[1], known.mean())


def test_heads_learn_the_truth_of_scenes():
    torch.manual_seed(0)
    scenes = [
        simulate_scene(np.random.default_rng(seed), (16, 16), CAMERA, kind)
        for seed, kind in enumerate(KINDS)
    ]
    target = torch.from_numpy(np.stack([patch_truth(scene_truth(s), 16, 4) for s in scenes]))
    features = torch.randn(4, 64, 4, 4, requires_grad=True)
    heads = TruthHeads(64)
    heads.follow(target)
    optimiser = torch.optim.Adam([features, *heads.parameters()], lr=0.05)
    errors = []
    for _ in range(60):
        parameters, regions = heads.error(heads(features, features)[0], target)
        optimiser.zero_grad()
        (parameters + regions).backward()
        optimiser.step()
        errors.append((float(parameters), float(regions)))
    purest = -(target[:, N_PARAMETERS:].clamp_min(1e-9).log() * target[:, N_PARAMETERS:])
    least = float(purest.sum(dim=1).mean())
    assert errors[0][1] == pytest.approx(np.log(N_REGIONS), abs=0.5)
    assert errors[-1][1] - least < 0.1
    assert errors[-1][0] < 0.2 * errors[0][0]


def test_images_without_truth_teach_nothing():
    features = torch.randn(2, 8, 3, 3, requires_grad=True)
    heads = TruthHeads(8)
    target = torch.full((2, N_TRUTHS, 3, 3), torch.nan)
    parameters, regions = heads.error(heads(features, features)[0], target)
    (parameters + regions).backward()
    assert float(parameters) == float(regions) == 0
    assert features.grad is not None
    assert not features.grad.any()
