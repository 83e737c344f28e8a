import numpy as np
import pytest
from cases import SPLITS, Case, per_pixel, random_pixels
from network_features import COUNTS, Claim, methods, verdict
from probes import LINEAR_PROBES, on_pixels, standardised

from carl.metrics import evaluate


@pytest.mark.parametrize("make", LINEAR_PROBES.values(), ids=LINEAR_PROBES)
def test_linear_probes_classify_linearly_separable_classes(make, cube, labels):
    training, test = random_pixels(labels, 5, 0)

    predicted = on_pixels(make, labels, standardised(per_pixel(cube.to_numpy()), labels))(training)

    assert evaluate(predicted, test).miou > 0.99


def test_probes_do_not_use_test_labels(cube, labels):
    training, _ = random_pixels(labels, 5, 0)
    features = standardised(per_pixel(cube.to_numpy()), labels)
    wrong = np.where((labels > 0) & (training == 0), 1, labels)

    first, second = (
        on_pixels(LINEAR_PROBES["shrinkage LDA"], each, features)(training)
        for each in (labels, wrong)
    )

    assert (first == second).all()


def test_every_method_classifies_all_labelled_pixels(cube, labels, tiny_model):
    training, _ = random_pixels(labels, 5, 0)

    for name, method in methods(Case("stripes", cube, labels), tiny_model, tiny_model):
        assert (method(training)[labels > 0] > 0).all(), name


def test_claims_compare_means_with_the_best_other_method():
    low, high = np.full((3, 2), 0.5), np.full((3, 2), 0.5)
    low[0], high[0] = 0.4, 0.7
    results = {("data", split): {"ours": high, "a": low, "b": low - 1} for split in SPLITS}

    better = verdict(Claim("better", [("ours", ["a", "b"])]), results)
    no_worse = verdict(Claim("no worse", [("ours", ["a", "b"])], strictly=False), results)

    assert better.startswith(f"better: 2 of {2 * len(COUNTS)}; least +0.000 (data, other pixels")
    assert no_worse.startswith("no worse: 6 of 6")
