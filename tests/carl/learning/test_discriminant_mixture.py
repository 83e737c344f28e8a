from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from carl.learning import discriminant_mixture as module
from carl.learning.discriminant_mixture import LabelledPixels, fit_mixture


def painted(n: int = 40, p: int = 6, n_classes: int = 3, seed: int = 0) -> LabelledPixels:
    """Gaussian classes; three neighbours in features form a block."""
    generator = np.random.default_rng(seed)
    classes = np.sort(np.arange(n) % n_classes)
    centres = generator.normal(size=(n_classes, p)) * 1.5
    return LabelledPixels(
        centres[classes] + generator.normal(size=(n, p)),
        classes,
        np.arange(n) // 3,
        generator.uniform(0.3, 1.0, n),
    )


def refitted_scores(pixels: LabelledPixels, block: int, k: int, columns: np.ndarray) -> np.ndarray:
    """Scores of a block of class k by a discriminant that never saw it, fitted from the start."""
    seen = ~((pixels.blocks == block) & (pixels.classes == k))
    features, n_classes = pixels.features[:, columns], pixels.n_classes
    totals = np.bincount(pixels.classes, pixels.weights)  # of all paint: they scale the classes
    n = totals.sum()
    scatter = module._SEEN_BEFORE * np.eye(len(columns))
    means = []
    for c in range(n_classes):
        mine = seen & (pixels.classes == c)
        u, x = pixels.weights[mine], features[mine]
        mean = u @ x / u.sum()
        means.append(mean)
        scatter += n / n_classes / totals[c] * (x - mean).T @ (u[:, None] * (x - mean))
    scatter /= max(n - n_classes, 1) + module._SEEN_BEFORE
    directions = np.linalg.solve(scatter, np.array(means).T)
    bias = -0.5 * np.sum(np.array(means).T * directions, axis=0)
    return features[~seen] @ directions + bias


@pytest.mark.parametrize("columns", [np.arange(6), np.array([0, 3, 4])])
def test_left_out_scores_are_those_of_a_refit(columns):
    pixels = painted()
    scores = module._left_out_scores(pixels, module._moments(pixels), columns)
    for block, k in {(b, c) for b, c in zip(pixels.blocks, pixels.classes, strict=True)}:
        mine = (pixels.blocks == block) & (pixels.classes == k)
        np.testing.assert_allclose(
            scores[mine], refitted_scores(pixels, block, k, columns), rtol=1e-8, atol=1e-8
        )


def test_the_only_block_of_a_class_cannot_be_left_out():
    pixels = painted()
    alone = LabelledPixels(
        pixels.features,
        pixels.classes,
        np.where(pixels.classes == 0, -1, pixels.blocks),
        pixels.weights,
    )
    scores = module._left_out_scores(alone, module._moments(alone), np.arange(6))
    assert np.isnan(scores[alone.classes == 0]).all()
    assert np.isfinite(scores[alone.classes > 0]).all()


def test_one_expert_on_all_features_is_the_textbook_discriminant():
    pixels = painted()
    head = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    weights, bias = head.discriminant()
    directions = np.linalg.solve(head.scatter, head.means.T)
    np.testing.assert_allclose(weights, head.temperatures[0] * directions)
    predicted = (pixels.features @ weights + bias).argmax(axis=1)
    assert np.mean(predicted == pixels.classes) > 0.85
    assert 0.7 < head.accuracy <= 1


def test_an_expert_on_noise_gets_next_to_nothing():
    pixels = painted(n=90)
    noise = np.random.default_rng(1).normal(size=(90, 6))
    both = LabelledPixels(
        np.hstack([pixels.features, noise]), pixels.classes, pixels.blocks, pixels.weights
    )
    seen = np.zeros((2, 12), bool)
    seen[0, :6] = True
    seen[1, 6:] = True
    head = fit_mixture(both, seen, [0.5, 0.5])
    assert head.shares[1] < 0.01
    assert head.shares.sum() == pytest.approx(1)


def test_scores_are_calibrated():
    pixels = painted(n=300, seed=3)
    head = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    weights, bias = head.discriminant()
    confidence = np.exp(log_softmax(pixels.features @ weights + bias, axis=1)).max(axis=1)
    right = (pixels.features @ weights + bias).argmax(axis=1) == pixels.classes
    assert confidence.mean() == pytest.approx(right.mean(), abs=0.06)


def test_little_paint_does_not_make_sure():
    def temperature(n: int) -> float:
        classes = np.arange(n) % 2
        noise = np.random.default_rng(0).normal(size=(n, 2))
        pixels = LabelledPixels(6.0 * classes[:, None] + noise, classes, np.arange(n), np.ones(n))
        return float(fit_mixture(pixels, np.ones((1, 2), bool), [1.0]).temperatures[0])

    assert temperature(4) < 0.5 * temperature(200)  # never wrong, but tried four times only


def test_one_pixel_a_class_is_enough():
    pixels = LabelledPixels(np.eye(3), np.arange(3), np.arange(3), np.ones(3))
    head = fit_mixture(pixels, np.ones((1, 3), bool), [1.0])
    weights, bias = head.discriminant()
    assert (np.eye(3) @ weights + bias).argmax(axis=1).tolist() == [0, 1, 2]
    assert np.isnan(head.accuracy)


def test_doubted_features_lose_their_say():
    pixels = painted()
    head = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    error_variance = np.array([0.99, 0, 0, 0, 0, 0])
    trusting, _ = head.discriminant()
    wary, _ = head.discriminant(error_variance)
    assert np.abs(wary[0]).max() < 0.05 * np.abs(trusting[0]).max()
    np.testing.assert_array_equal(head.discriminant(np.zeros(6))[0], trusting)
