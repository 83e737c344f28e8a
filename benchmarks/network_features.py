"""Contribution of the network's features from few labelled pixels: probes, and the segmenter.

Rows: linear probes on raw spectra, on a filter bank and on CARL's features; common pixel
classifiers; and the segmenter without CARL, with random weights and with trained weights. Columns:
2, 5 and 20 training pixels per class. Methods are tested on all other labelled pixels ("other
pixels"), and, with training pixels from half of the regions of each class, on the other half
("other regions"). Below the table, claims about CARL are checked against it.

    python benchmarks/network_features.py                  # bladder and Sentinel-2, from ../shared
    python benchmarks/network_features.py --draws 20       # for small differences
    python benchmarks/network_features.py --data sample    # the bundled sample
    python benchmarks/network_features.py --model runs/first/carl-nano.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from cases import (
    CASES,
    SPLITS,
    Case,
    available,
    filter_bank,
    gaussian_features,
    per_pixel,
    pixel_features,
)
from machine import machine_line
from probes import (
    LINEAR_PROBES,
    ClassifierFactory,
    Method,
    ledoit_wolf_lda,
    logistic_regression,
    on_pixels,
    standardised,
)
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.svm import SVC

import carl
from carl.cube import SpectralCube
from carl.learning.features import FeatureStack
from carl.metrics import evaluate
from carl.model import CARL, build_model
from carl.model.named_models import DEFAULT_MODEL

COUNTS = (2, 5, 20)
TRAINED, UNTRAINED, RAW, BANK = "CARL trained", "CARL untrained", "raw spectra", "filter bank"
WITH, RANDOM, WITHOUT = (f"segmenter, {name}" for name in (TRAINED, UNTRAINED, "no CARL"))

MethodScores = dict[str, np.ndarray]
"""mIoU (counts, draws) by method."""
Results = dict[tuple[str, str], MethodScores]
"""Scores by data and split."""


class Claim(NamedTuple):
    """Claim that one method is better than others.

    Attributes:
        text: the claim in words.
        pairs: pairs of a method and the methods it is compared with; the best of them counts.
        counts: numbers of training pixels per class that the claim is about.
        strictly: whether the method must be better; otherwise it may be equal.
    """

    text: str
    pairs: Sequence[tuple[str, Sequence[str]]]
    counts: Sequence[int] = COUNTS
    strictly: bool = True


def probed(features: str) -> list[str]:
    """Return the names of the linear probes on these features."""
    return [f"{features}, {probe}" for probe in LINEAR_PROBES]


BANKS = (*probed(BANK), f"{BANK}, Ledoit-Wolf LDA")
CLAIMS = (
    Claim(
        "linear probe, trained beats untrained",
        [(one, [other]) for one, other in zip(probed(TRAINED), probed(UNTRAINED), strict=True)],
    ),
    Claim(
        "linear probe, trained beats raw spectra",
        [(one, [other]) for one, other in zip(probed(TRAINED), probed(RAW), strict=True)],
    ),
    Claim("segmenter, CARL is never worse", [(WITH, [WITHOUT])], strictly=False),
    Claim("segmenter, CARL is better at 2 and 5 pixels", [(WITH, [WITHOUT])], COUNTS[:2]),
    Claim("segmenter, trained beats untrained", [(WITH, [RANDOM])]),
    Claim(
        "segmenter with CARL beats the filter bank at 2 and 5 pixels", [(WITH, BANKS)], COUNTS[:2]
    ),
)


def methods(case: Case, trained: CARL, untrained: CARL) -> Iterator[tuple[str, Method]]:
    """Yield the names and methods of the table; features are computed on the way."""
    pixels = np.nan_to_num(case.cube.to_numpy())

    def classified(make: ClassifierFactory, features: FeatureStack) -> Method:
        return on_pixels(make, case.labels, standardised(features, case.labels))

    def linear(name: str, features: FeatureStack) -> Iterator[tuple[str, Method]]:
        for title, make in zip(probed(name), LINEAR_PROBES.values(), strict=True):
            yield title, classified(make, features)

    raw = per_pixel(pixels)
    yield from linear(RAW, raw)
    yield f"{RAW}, SVM", classified(SVC, raw)
    yield (
        f"{RAW}, random forest",
        classified(partial(RandomForestClassifier, 200, random_state=0), raw),
    )
    window = per_pixel(ndimage.uniform_filter(pixels, (11, 11, 0)))
    yield "11 × 11 mean, logistic regression", classified(logistic_regression, window)
    trees = partial(HistGradientBoostingClassifier, min_samples_leaf=1, random_state=0)
    yield (
        "Gaussian features, boosted trees",
        classified(trees, per_pixel(gaussian_features(pixels))),
    )
    bank = per_pixel(filter_bank(pixels))
    yield from linear(BANK, bank)
    yield BANKS[-1], classified(ledoit_wolf_lda, bank)
    yield from linear(UNTRAINED, pixel_features(case.cube, untrained))
    yield from linear(TRAINED, pixel_features(case.cube, trained))
    for name, model in ((WITHOUT, None), (RANDOM, untrained), (WITH, trained)):
        yield name, segmenter(case.cube, model)


def segmenter(cube: SpectralCube, model: CARL | None) -> Method:
    """Return the segmenter of this package as a method."""
    return lambda training: carl.Segmenter(model).fit(cube, training).predict(cube).labels


def scores(
    method: Method, case: Case, split: str, counts: Iterable[int], n_draws: int
) -> np.ndarray:
    """Compute the mIoU (counts, draws) of a method."""
    draws = [
        [SPLITS[split](case.labels, count, seed) for seed in range(n_draws)] for count in counts
    ]
    return np.array(
        [[evaluate(method(training), test).miou for training, test in row] for row in draws]
    )


def verdict(claim: Claim, results: Results) -> str:
    """Return how often a claim holds for the means over draws, and its smallest margin."""
    margins = {}
    columns = [COUNTS.index(count) for count in claim.counts]
    for (data, split), by_method in results.items():
        means = {name: each.mean(axis=1) for name, each in by_method.items()}
        for ours, others in claim.pairs:
            margin = means[ours] - np.max([means[other] for other in others], axis=0)
            for column in columns:
                margins[ours, f"{data}, {split}, {COUNTS[column]} px"] = float(margin[column])
    holds = [margin > 0 if claim.strictly else margin >= 0 for margin in margins.values()]
    worst = min(margins, key=margins.get)
    return f"{claim.text}: {sum(holds)} of {len(holds)}; least {margins[worst]:+.3f} ({worst[1]})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", choices=CASES, nargs="+", default=available("bladder", "sentinel2")
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or file of a network")
    parser.add_argument("--draws", type=int, default=5, help="random draws of training pixels")
    options = parser.parse_args()
    trained = carl.load_model(options.model)
    untrained = build_model(trained.config)
    print(f"{machine_line()}\n{trained.name}, {'' if trained.trained else 'not '}trained")
    print(
        f"mIoU, mean ± sd of {options.draws} draws of training pixels, by their number per class\n"
    )
    print(f"| data | tested on | method | {' | '.join(f'{count} px' for count in COUNTS)} |")
    print("|---" * (3 + len(COUNTS)) + "|")
    results: Results = {}
    for case in (CASES[name]() for name in options.data):
        for name, method in methods(case, trained, untrained):
            for split in SPLITS:
                found = scores(method, case, split, COUNTS, options.draws)
                results.setdefault((case.name, split), {})[name] = found
        for split in SPLITS:
            for name, found in results[case.name, split].items():
                cells = [f"{np.mean(each):.3f} ± {np.std(each):.3f}" for each in found]
                print(f"| {case.name} | {split} | {name:37} | {' | '.join(cells)} |", flush=True)
    print()
    for claim in CLAIMS:
        print(f"- {verdict(claim, results)}")


if __name__ == "__main__":
    main()
