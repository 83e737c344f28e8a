from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from carl.learning import discriminant_mixture as module
from carl.learning.discriminant_mixture import LabelledPixels, fit_mixture


def labelled(n: int = 40, p: int = 6, n_classes: int = 3, seed: int = 0) -> LabelledPixels:
    """Return pixels of Gaussian classes; three successive pixels form a block."""
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
    """Compute scores of a block of class k by a discriminant fitted to the other blocks."""
    training = ~((pixels.blocks == block) & (pixels.classes == k))
    features, n_classes = pixels.features[:, columns], pixels.n_classes
    totals = np.bincount(
        pixels.classes, pixels.weights
    )  # of all pixels, as they balance the classes
    n = totals.sum()
    scatter = module._PRIOR_PIXELS * np.eye(len(columns))
    means = []
    for c in range(n_classes):
        members = training & (pixels.classes == c)
        u, x = pixels.weights[members], features[members]
        mean = u @ x / u.sum()
        means.append(mean)
        scatter += n / n_classes / totals[c] * (x - mean).T @ (u[:, None] * (x - mean))
    scatter /= max(n - n_classes, 1) + module._PRIOR_PIXELS
    directions = np.linalg.solve(scatter, np.array(means).T)
    bias = -0.5 * np.sum(np.array(means).T * directions, axis=0)
    return features[~training] @ directions + bias


@pytest.mark.parametrize("columns", [np.arange(6), np.array([0, 3, 4])])
def test_held_out_scores_are_those_of_a_refit(columns):
    pixels = labelled()
    scores = module._held_out_scores(pixels, module._moments(pixels), columns)
    for block, k in {(b, c) for b, c in zip(pixels.blocks, pixels.classes, strict=True)}:
        members = (pixels.blocks == block) & (pixels.classes == k)
        np.testing.assert_allclose(
            scores[members], refitted_scores(pixels, block, k, columns), rtol=1e-8, atol=1e-8
        )


def test_the_only_block_of_a_class_has_no_held_out_scores():
    pixels = labelled()
    alone = LabelledPixels(
        pixels.features,
        pixels.classes,
        np.where(pixels.classes == 0, -1, pixels.blocks),
        pixels.weights,
    )
    scores = module._held_out_scores(alone, module._moments(alone), np.arange(6))
    assert np.isnan(scores[alone.classes == 0]).all()
    assert np.isfinite(scores[alone.classes > 0]).all()


def test_one_component_on_all_features_is_linear_discriminant_analysis():
    pixels = labelled()
    mixture = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    weights, bias = mixture.discriminant()
    directions = np.linalg.solve(mixture.scatter, mixture.means.T)
    np.testing.assert_allclose(weights, mixture.temperatures[0] * directions)
    predicted = (pixels.features @ weights + bias).argmax(axis=1)
    assert np.mean(predicted == pixels.classes) > 0.85
    assert 0.7 < mixture.accuracy <= 1


def test_a_component_on_noise_gets_hardly_any_weight():
    pixels = labelled(n=90)
    noise = np.random.default_rng(1).normal(size=(90, 6))
    both = LabelledPixels(
        np.hstack([pixels.features, noise]), pixels.classes, pixels.blocks, pixels.weights
    )
    masks = np.zeros((2, 12), bool)
    masks[0, :6] = True
    masks[1, 6:] = True
    mixture = fit_mixture(both, masks, [0.5, 0.5])
    assert mixture.weights[1] < 0.01
    assert mixture.weights.sum() == pytest.approx(1)


def test_scores_are_calibrated():
    pixels = labelled(n=300, seed=3)
    mixture = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    weights, bias = mixture.discriminant()
    confidence = np.exp(log_softmax(pixels.features @ weights + bias, axis=1)).max(axis=1)
    correct = (pixels.features @ weights + bias).argmax(axis=1) == pixels.classes
    assert confidence.mean() == pytest.approx(correct.mean(), abs=0.06)


def test_few_labels_give_uncertain_predictions():
    def temperature(n: int) -> float:
        classes = np.arange(n) % 2
        noise = np.random.default_rng(0).normal(size=(n, 2))
        pixels = LabelledPixels(6.0 * classes[:, None] + noise, classes, np.arange(n), np.ones(n))
        return float(fit_mixture(pixels, np.ones((1, 2), bool), [1.0]).temperatures[0])

    assert temperature(4) < 0.5 * temperature(200)  # all correct, but only four pixels


def test_one_pixel_per_class_is_enough():
    pixels = LabelledPixels(np.eye(3), np.arange(3), np.arange(3), np.ones(3))
    mixture = fit_mixture(pixels, np.ones((1, 3), bool), [1.0])
    weights, bias = mixture.discriminant()
    assert (np.eye(3) @ weights + bias).argmax(axis=1).tolist() == [0, 1, 2]
    assert np.isnan(mixture.accuracy)


def test_features_with_a_large_error_variance_get_small_coefficients():
    pixels = labelled()
    mixture = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    error_variance = np.array([0.99, 0, 0, 0, 0, 0])
    without, _ = mixture.discriminant()
    with_error, _ = mixture.discriminant(error_variance)
    assert np.abs(with_error[0]).max() < 0.05 * np.abs(without[0]).max()
    np.testing.assert_array_equal(mixture.discriminant(np.zeros(6))[0], without)
