from __future__ import annotations

from dataclasses import replace

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
        classes,
        np.arange(n) // 3,
        np.arange(n) // 3,
        generator.uniform(0.3, 1.0, n),
    )


def refitted_scores(pixels: LabelledPixels, block: int, k: int, columns: np.ndarray) -> np.ndarray:
    """Compute scores of a block of class k by a discriminant fitted to the other blocks."""
    training = ~((pixels.blocks == block) & (pixels.classes == k))
    features, n_classes = pixels.features[:, columns], len(pixels.mode_classes)
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
    mask = np.isin(np.arange(6), columns)[None]
    (scores,) = module._held_out_scores(pixels, module._moments(pixels), pixels.blocks, mask)
    for block, k in {(b, c) for b, c in zip(pixels.blocks, pixels.classes, strict=True)}:
        members = (pixels.blocks == block) & (pixels.classes == k)
        np.testing.assert_allclose(
            scores[members], refitted_scores(pixels, block, k, columns), rtol=1e-8, atol=1e-8
        )


def test_the_only_block_of_a_class_has_no_held_out_scores():
    pixels = labelled()
    blocks = np.where(pixels.classes == 0, 99, pixels.blocks)
    moments = module._moments(pixels)
    (scores,) = module._held_out_scores(pixels, moments, blocks, np.ones((1, 6), bool))
    assert np.isnan(scores[pixels.classes == 0]).all()
    assert np.isfinite(scores[pixels.classes > 0]).all()


@pytest.mark.parametrize("p", [6, 2])
def test_a_held_out_group_may_have_more_pixels_than_features(p):
    pixels = labelled(n=90, p=p)
    columns = np.arange(p)
    halves = np.arange(90) % 2
    mask = np.ones((1, p), bool)
    (scores,) = module._held_out_scores(pixels, module._moments(pixels), halves, mask)
    in_halves = replace(pixels, blocks=halves)
    members = (halves == 1) & (pixels.classes == 2)
    expected = refitted_scores(in_halves, 1, 2, columns)
    np.testing.assert_allclose(scores[members], expected, rtol=1e-8, atol=1e-8)


def test_a_held_out_mode_is_left_out_of_its_class():
    pixels = labelled()
    modes = np.where(pixels.blocks >= 12, 3, pixels.modes)  # the last stroke of class 2
    several = replace(pixels, modes=modes)
    moments = module._moments(several)
    mask = np.ones((1, 6), bool)
    (scores,) = module._held_out_scores(several, moments, several.strokes, mask)
    held_out = module.class_scores(scores[modes == 3], several.mode_classes)
    alone = module.class_scores(scores[modes == 3][:, :3], np.arange(3))
    np.testing.assert_array_equal(held_out, alone)
    assert np.isfinite(held_out).all()


def test_the_score_of_a_class_is_the_largest_of_its_modes():
    scores = np.array([[1.0, 5.0, 2.0, 3.0]])
    assert module.class_scores(scores, np.array([0, 0, 1, 2])).tolist() == [[5.0, 2.0, 3.0]]
    assert module.class_scores(scores, np.arange(4)) is scores


def test_a_mode_is_added_without_changing_the_others():
    pixels = labelled()
    mixture = fit_mixture(pixels, np.ones((1, 6), bool), [1.0])
    modes = np.where(np.arange(40) == 39, 3, pixels.modes)
    refitted = module.refit_mixture(mixture, replace(pixels, modes=modes))
    np.testing.assert_array_equal(refitted.means[:2], mixture.means[:2])
    np.testing.assert_allclose(refitted.means[3], pixels.features[39])
    assert refitted.mode_classes.tolist() == [0, 1, 2, 2]
    np.testing.assert_array_equal(refitted.weights, mixture.weights)
    np.testing.assert_array_equal(refitted.temperatures, mixture.temperatures)


def test_accuracy_is_that_of_held_out_strokes():
    """Strokes of a class that differ from each other cannot predict each other."""
    generator = np.random.default_rng(0)
    n = 64
    strokes = np.arange(n) // 8
    classes = strokes // 4
    centres = generator.normal(size=(8, 12)) * 4
    pixels = LabelledPixels(
        centres[strokes] + 0.1 * generator.normal(size=(n, 12)),
        classes, classes, np.arange(n), strokes, np.ones(n),
    )  # fmt: skip
    one_block_per_pixel = fit_mixture(pixels, np.ones((1, 12), bool), [1.0])
    by_pixel = fit_mixture(replace(pixels, strokes=np.arange(n)), np.ones((1, 12), bool), [1.0])
    assert by_pixel.accuracy == 1
    assert one_block_per_pixel.accuracy < 0.8
    np.testing.assert_array_equal(one_block_per_pixel.weights, by_pixel.weights)


def test_a_class_of_one_stroke_is_not_judged():
    pixels = labelled()
    strokes = np.where(pixels.classes == 1, 99, pixels.strokes)
    mixture = fit_mixture(replace(pixels, strokes=strokes), np.ones((1, 6), bool), [1.0])
    assert np.isnan(mixture.accuracies).tolist() == [False, True, False]
    assert mixture.accuracy == pytest.approx(np.mean(mixture.accuracies[[0, 2]]))
    predicted = replace(pixels, strokes=np.full(40, module.NO_STROKE))
    assert np.isnan(fit_mixture(predicted, np.ones((1, 6), bool), [1.0]).accuracies).all()


def test_more_strokes_than_folds_are_held_out_together():
    pixels = labelled(n=300)
    pixels = replace(pixels, strokes=np.arange(300))
    folds = module._folds(pixels)
    assert set(folds) == set(range(module._N_FOLDS))
    assert np.bincount(folds[pixels.classes == 0]).tolist() == [10] * 10


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
    both = replace(pixels, features=np.hstack([pixels.features, noise]))
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
        alone = np.arange(n)
        features = 6.0 * classes[:, None] + noise
        pixels = LabelledPixels(features, classes, classes, alone, alone, np.ones(n))
        return float(fit_mixture(pixels, np.ones((1, 2), bool), [1.0]).temperatures[0])

    assert temperature(4) < 0.5 * temperature(200)  # all correct, but only four pixels


def test_one_pixel_per_class_is_enough():
    pixels = LabelledPixels(np.eye(3), *[np.arange(3)] * 4, np.ones(3))
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
