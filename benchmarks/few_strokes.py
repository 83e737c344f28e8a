"""Linear probes and segmentation from a handful of painted pixels, in one table.

Rows: a linear probe, the same for raw spectra, the filter bank and CARL's features alone; usual
classifiers of pixels; and the segmenter without CARL, with random weights and with trained ones.
Columns: 2, 5 and 20 painted pixels per class. Each is scored on all other labelled pixels ("other
pixels"), and, painted in one half of every class's regions, on the other half ("other regions").
Below the table, what it says of CARL is counted.

    python benchmarks/few_strokes.py                  # bladder and Sentinel-2, from ../shared
    python benchmarks/few_strokes.py --draws 20       # small differences want many draws
    python benchmarks/few_strokes.py --data sample    # the bundled sample
    python benchmarks/few_strokes.py --model runs/first/carl-nano.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from cases import (
    CASES,
    PROTOCOLS,
    Case,
    every_pixel,
    filter_bank,
    painting_features,
    pixel_features,
    present,
)
from machine import machine_line
from probes import (
    LINEAR_PROBES,
    Make,
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
from carl.learning import evaluate
from carl.learning.features import FeatureStack
from carl.model import CARL, build_model
from carl.model.named_models import DEFAULT_MODEL

COUNTS = (2, 5, 20)
TRAINED, UNTRAINED, RAW, BANK = "CARL trained", "CARL untrained", "raw spectra", "filter bank"
WITH, RANDOM, WITHOUT = (f"segmenter, {what}" for what in (TRAINED, UNTRAINED, "no CARL"))

Scores = dict[str, np.ndarray]
"""By method, (counts, draws) mIoU."""
Results = dict[tuple[str, str], Scores]
"""By name of the data and what is scored on."""


class Claim(NamedTuple):
    """One method said to be better than others.

    Attributes:
        text: what is said.
        pairs: a method, and those it is better than, of which the best one counts.
        counts: pixels per class that it is said of.
        strictly: better, and not as good.
    """

    text: str
    pairs: Sequence[tuple[str, Sequence[str]]]
    counts: Sequence[int] = COUNTS
    strictly: bool = True


def probed(features: str) -> list[str]:
    """Names of the linear probes on these features."""
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
    Claim("segmenter, CARL nowhere costs", [(WITH, [WITHOUT])], strictly=False),
    Claim("segmenter, CARL helps at 2 and 5 pixels", [(WITH, [WITHOUT])], COUNTS[:2]),
    Claim("segmenter, trained beats untrained", [(WITH, [RANDOM])]),
    Claim(
        "segmenter with CARL beats the filter bank at 2 and 5 pixels", [(WITH, BANKS)], COUNTS[:2]
    ),
)


def methods(case: Case, trained: CARL, untrained: CARL) -> Iterator[tuple[str, Method]]:
    """All methods with their names, features computed when a method is asked for."""
    pixels = np.nan_to_num(case.cube.to_numpy())

    def classified(make: Make, features: FeatureStack) -> Method:
        return on_pixels(make, case.labels, standardised(features, case.labels))

    def linear(name: str, features: FeatureStack) -> Iterator[tuple[str, Method]]:
        for title, make in zip(probed(name), LINEAR_PROBES.values(), strict=True):
            yield title, classified(make, features)

    raw = every_pixel(pixels)
    yield from linear(RAW, raw)
    yield f"{RAW}, SVM", classified(SVC, raw)
    yield (
        f"{RAW}, random forest",
        classified(partial(RandomForestClassifier, 200, random_state=0), raw),
    )
    window = every_pixel(ndimage.uniform_filter(pixels, (11, 11, 0)))
    yield "11 × 11 mean, logistic regression", classified(logistic_regression, window)
    trees = partial(HistGradientBoostingClassifier, min_samples_leaf=1, random_state=0)
    yield (
        "Gaussian features, boosted trees",
        classified(trees, every_pixel(painting_features(pixels))),
    )
    bank = every_pixel(filter_bank(pixels))
    yield from linear(BANK, bank)
    yield BANKS[-1], classified(ledoit_wolf_lda, bank)
    yield from linear(UNTRAINED, pixel_features(case.cube, untrained))
    yield from linear(TRAINED, pixel_features(case.cube, trained))
    for name, model in ((WITHOUT, None), (RANDOM, untrained), (WITH, trained)):
        yield name, segmenter(case.cube, model)


def segmenter(cube: SpectralCube, model: CARL | None) -> Method:
    """The few-stroke segmenter of this package."""
    return lambda painted: carl.Segmenter(model).fit(cube, painted).predict(cube).labels


def scores(
    method: Method, case: Case, protocol: str, counts: Iterable[int], n_draws: int
) -> np.ndarray:
    """(counts, draws) mIoU of a method."""
    draw = PROTOCOLS[protocol]
    drawn = [[draw(case.labels, count, seed) for seed in range(n_draws)] for count in counts]
    return np.array(
        [[evaluate(method(painted), truth).miou for painted, truth in row] for row in drawn]
    )


def verdict(claim: Claim, results: Results) -> str:
    """How often a claim holds, by means over draws, and where it is furthest from holding."""
    margins = {}
    columns = [COUNTS.index(count) for count in claim.counts]
    for (data, protocol), found in results.items():
        means = {name: each.mean(axis=1) for name, each in found.items()}
        for ours, others in claim.pairs:
            ahead = means[ours] - np.max([means[other] for other in others], axis=0)
            for column in columns:
                margins[ours, f"{data}, {protocol}, {COUNTS[column]} px"] = float(ahead[column])
    holds = [margin > 0 if claim.strictly else margin >= 0 for margin in margins.values()]
    worst = min(margins, key=margins.get)
    return f"{claim.text}: {sum(holds)} of {len(holds)}; least {margins[worst]:+.3f} ({worst[1]})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=CASES, nargs="+", default=present("bladder", "sentinel2"))
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a name, or a file of weights")
    parser.add_argument("--draws", type=int, default=5, help="of painted pixels")
    options = parser.parse_args()
    trained = carl.load_model(options.model)
    untrained = build_model(trained.config)
    print(f"{machine_line()}\n{trained.name}, {'' if trained.trained else 'not '}trained")
    print(f"mIoU, mean ± sd of {options.draws} draws of so many painted pixels per class\n")
    print(f"| data | scored on | method | {' | '.join(f'{count} px' for count in COUNTS)} |")
    print("|---" * (3 + len(COUNTS)) + "|")
    results: Results = {}
    for case in (CASES[name]() for name in options.data):
        for name, method in methods(case, trained, untrained):
            for protocol in PROTOCOLS:
                found = scores(method, case, protocol, COUNTS, options.draws)
                results.setdefault((case.name, protocol), {})[name] = found
        for protocol in PROTOCOLS:
            for name, found in results[case.name, protocol].items():
                cells = [f"{np.mean(each):.3f} ± {np.std(each):.3f}" for each in found]
                print(f"| {case.name} | {protocol} | {name:37} | {' | '.join(cells)} |", flush=True)
    print()
    for claim in CLAIMS:
        print(f"- {verdict(claim, results)}")


if __name__ == "__main__":
    main()
