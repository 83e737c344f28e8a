import numpy as np
import pytest
from cases import PROTOCOLS, Case, every_pixel, random_pixels
from few_strokes import COUNTS, Claim, methods, verdict
from probes import LINEAR_PROBES, on_pixels, standardised

from carl.learning import evaluate


@pytest.mark.parametrize("make", LINEAR_PROBES.values(), ids=LINEAR_PROBES)
def test_linear_probes_tell_what_lies_on_a_line(make, cube, labels):
    painted, truth = random_pixels(labels, 5, 0)

    found = on_pixels(make, labels, standardised(every_pixel(cube.to_numpy()), labels))(painted)

    assert evaluate(found, truth).miou > 0.99


def test_probes_never_see_unpainted_labels(cube, labels):
    painted, _ = random_pixels(labels, 5, 0)
    features = standardised(every_pixel(cube.to_numpy()), labels)
    wrong = np.where((labels > 0) & (painted == 0), 1, labels)

    first, second = (
        on_pixels(LINEAR_PROBES["shrinkage LDA"], each, features)(painted)
        for each in (labels, wrong)
    )

    assert (first == second).all()


def test_every_method_of_the_table_maps_every_labelled_pixel(cube, labels, tiny_model):
    painted, _ = random_pixels(labels, 5, 0)

    for name, method in methods(Case("stripes", cube, labels), tiny_model, tiny_model):
        assert (method(painted)[labels > 0] > 0).all(), name


def test_claims_are_counted_by_means_against_the_best_of_the_others():
    low, high = np.full((3, 2), 0.5), np.full((3, 2), 0.5)
    low[0], high[0] = 0.4, 0.7
    results = {("data", protocol): {"ours": high, "a": low, "b": low - 1} for protocol in PROTOCOLS}

    better = verdict(Claim("better", [("ours", ["a", "b"])]), results)
    no_worse = verdict(Claim("no worse", [("ours", ["a", "b"])], strictly=False), results)

    assert better.startswith(f"better: 2 of {2 * len(COUNTS)}; least +0.000 (data, other pixels")
    assert no_worse.startswith("no worse: 6 of 6")
