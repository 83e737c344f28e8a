import numpy as np
import pytest

from carl.learning.discriminant_mixture import NO_STROKE, LabelledPixels
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.kernel_mixture import _GAMMA, KernelMixture, fit_kernels

COLUMNS = {"texture 3 px": slice(0, 2), "density": slice(2, 5)}


def labelled(features: np.ndarray, classes: np.ndarray, strokes: np.ndarray) -> LabelledPixels:
    ones = np.ones(len(classes))
    return LabelledPixels(features.astype(float), classes, classes, strokes, strokes, ones)


def two_classes(informative: slice, n: int = 12) -> tuple[LabelledPixels, np.ndarray]:
    """Return pixels of two classes that differ in some features, and an image of both."""
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1], n)
    features = generator.normal(size=(2 * n, 5))
    features[:, informative] += 4 * classes[:, None]
    image = generator.normal(size=(400, 5))
    image[200:, informative] += 4
    neighbours = image + generator.normal(0, 0.3, image.shape)
    pixels = labelled(features, classes, np.arange(2 * n))
    return pixels, np.stack([image, neighbours]).astype(np.float32)


def scores(mixture: KernelMixture, features: np.ndarray) -> np.ndarray:
    """Return the (n, K) scores of (n, 5) features."""
    stack = FeatureStack(
        (1, len(features)),
        tuple(
            FeatureMap(name, features[None, :, where].astype(np.float32), 1)
            for name, where in COLUMNS.items()
        ),
    )
    return mixture.scores(stack)[0]


@pytest.mark.parametrize("group", COLUMNS)
def test_the_informative_group_decides(group):
    pixels, unlabelled = two_classes(COLUMNS[group])
    mixture = fit_kernels(pixels, COLUMNS, unlabelled)
    assert mixture.group_weights[group] > 0.55
    predicted = scores(mixture, unlabelled[0]).argmax(axis=1)
    assert np.mean(predicted == np.repeat([0, 1], 200)) > 0.97


def test_scores_are_those_of_a_gaussian_process():
    """Compare with a direct computation that pools the components one by one."""
    pixels, unlabelled = two_classes(COLUMNS["density"])
    mixture = fit_kernels(pixels, COLUMNS, unlabelled)
    at, centres = unlabelled[0, :7].astype(float), pixels.features
    targets = np.eye(2)[pixels.classes] - 0.5
    expected = np.zeros((7, 2))
    for a, b, noise, weight, temperature in zip(
        mixture.kernels,
        mixture.linear,
        mixture.noises,
        mixture.weights,
        mixture.temperatures,
        strict=True,
    ):

        def kernel(x, y, a=a, b=b):
            total = 0.0
            for g, where in enumerate(COLUMNS.values()):
                x_g, y_g = x[:, None, where], y[None, :, where]
                distance = ((x_g - y_g) ** 2).sum(axis=-1)
                total += a[g] / (1 + _GAMMA * distance / mixture.totals[g])
                total += b[g] * (x_g * y_g).sum(axis=-1) / mixture.totals[g]
            return total

        gram = kernel(centres, centres) + noise * np.eye(len(centres))
        component = kernel(at, centres) @ np.linalg.solve(gram, targets)
        expected += weight * temperature * component
    np.testing.assert_allclose(scores(mixture, unlabelled[0, :7]), expected, atol=0.02)


def test_held_out_accuracy_is_that_of_fits_without_the_stroke():
    pixels, unlabelled = two_classes(COLUMNS["density"], n=3)
    flipped = pixels.classes.copy()
    flipped[0] = 1  # one pixel of the first class is labelled as the second
    wrong = labelled(pixels.features, flipped, pixels.strokes)
    right = fit_kernels(pixels, COLUMNS, unlabelled).accuracies
    np.testing.assert_allclose(right, 1)
    assert fit_kernels(wrong, COLUMNS, unlabelled).accuracies[1] < 1


def test_one_stroke_each_is_not_judged():
    pixels, unlabelled = two_classes(COLUMNS["density"])
    one = labelled(pixels.features, pixels.classes, pixels.classes)
    mixture = fit_kernels(one, COLUMNS, unlabelled)
    assert np.isnan(mixture.accuracies).all()
    assert np.isfinite(scores(mixture, unlabelled[0])).all()


def test_a_pixel_that_is_added_gets_its_class():
    pixels, unlabelled = two_classes(COLUMNS["density"])
    mixture = fit_kernels(pixels, COLUMNS, unlabelled)
    far = np.full((1, 5), -6.0)
    joined = labelled(
        np.concatenate([pixels.features, far]),
        np.append(pixels.classes, 1),
        np.append(pixels.strokes, 99),
    )
    assert scores(mixture, far).argmax() == 0
    assert scores(mixture.refit(joined), far).argmax() == 1


def test_pixels_of_strokes_are_used_before_predicted_ones():
    pixels, unlabelled = two_classes(COLUMNS["density"], n=300)
    strokes = np.where(np.arange(600) % 6 == 0, np.arange(600), NO_STROKE)
    mixed = LabelledPixels(
        pixels.features, pixels.classes, pixels.classes, np.arange(600), strokes, np.ones(600)
    )
    used = fit_kernels(mixed, COLUMNS, unlabelled).centres
    drawn = pixels.features[strokes != NO_STROKE].astype(np.float32)
    assert len(used) == 200
    assert (used[:, None] == drawn).all(axis=2).any(axis=0).all()


def test_arrays_that_make_no_mixture_are_refused():
    pixels, unlabelled = two_classes(COLUMNS["density"])
    mixture = fit_kernels(pixels, COLUMNS, unlabelled)
    mixture.check()
    for name, change in {
        "widths": lambda values: values + 1,
        "totals": lambda values: -values,
        "dual": lambda values: values[:, 1:],
        "noises": lambda values: 0 * values,
        "accuracies": lambda values: values[1:],
    }.items():
        damaged = KernelMixture(**vars(mixture) | {name: change(getattr(mixture, name))})
        with pytest.raises(ValueError, match=r"."):
            damaged.check()
