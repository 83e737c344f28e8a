"""Accuracy of the segmenter from few labels, against sixteen classical pipelines.

Every cube is segmented from 2, 5, 20 and 100 labelled pixels per class and from 1 and 3 strokes per
class, without a network, with the default network, and by every pair of a kind of features and a
classifier of `classical.py`. Tested are other pixels, other regions or a left-out region: of each
draw at most 6000 pixels, and at least 150 of each class where there are as many. Values are the
mIoU, as the mean of five draws. A pipeline that cannot be fitted is left out of that row. Below the
table are means over the cubes, the gain of the network, and the expected calibration error (ECE).

With `--pairs`, everything is fitted to 20 pixels per class of a cube and tested on other regions of
another recording of its scene (`recordings.py`). The classical pipelines use its spectra
interpolated to the bands of the cube, standardised by the cube or, "aligned", by themselves.

    python benchmarks/few_strokes.py                        # all cubes of ../shared
    python benchmarks/few_strokes.py --data sample          # the bundled sample
    python benchmarks/few_strokes.py --pairs --draws 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from cases import (
    CASES,
    SPLITS,
    Case,
    Labels,
    Split,
    available,
    half_regions,
    left_out_regions,
    strokes,
    strokes_in_half_regions,
)
from classical import FeatureTables, feature_tables, fitted_pipelines
from machine import machine_line
from recordings import RECORDINGS, majority
from threadpoolctl import threadpool_limits

import carl
from carl.cube import SpectralCube
from carl.learning import CubeFeatures, Prediction
from carl.metrics import evaluate
from carl.model import CARL
from carl.model.named_models import DEFAULT_MODEL
from carl.spectra.resample import interpolation_matrix

PIXEL_COUNTS = {count: f"{count} px" for count in (2, 5, 20, 100)}
STROKE_COUNTS = {1: "1 stroke", 3: "3 strokes"}
"""Numbers of labelled pixels and of strokes per class, and their names in the table."""
PIXEL_SPLITS: dict[str, Split] = {**SPLITS, "left-out region": left_out_regions}
STROKE_SPLITS: dict[str, Split] = {
    "strokes": strokes,
    "strokes, other regions": strokes_in_half_regions,
}
PAIR_COUNT = 20
"""Training pixels per class of the pairs."""
CALIBRATED = ("other regions", "20 px")
"""Split and labels of the rows whose calibration is listed."""
TEST_PIXELS, TEST_PIXELS_PER_CLASS = 6000, 150
"""Most pixels that are tested, and fewest of each class."""
ECE_BINS = 15
MARGIN = 0.01
"""Difference of mIoU from which the segmenter counts as behind."""


class DrawScores(NamedTuple):
    """Scores from one draw of labelled pixels.

    Attributes:
        ours: mIoU of the segmenter without and with the network.
        errors: ECE of both.
        classical: mIoU of each pipeline that could be fitted.
    """

    ours: tuple[float, float]
    errors: tuple[float, float]
    classical: dict[str, float]


class Row(NamedTuple):
    """Row of the table: means over the draws.

    Attributes:
        cube: name of the cube.
        split: what is tested on, or the recording of a pair.
        labelled: number of labelled pixels or strokes per class.
        ours: mIoU of the segmenter without and with the network.
        errors: ECE of both.
        classical: mIoU of each pipeline that could be fitted in all draws.
    """

    cube: str
    split: str
    labelled: str
    ours: tuple[float, float]
    errors: tuple[float, float]
    classical: dict[str, float]

    @property
    def best(self) -> str:
        """Name of the best classical pipeline."""
        return max(self.classical, key=self.classical.get)

    @property
    def gain(self) -> float:
        """Gain by the network."""
        return self.ours[1] - self.ours[0]

    @property
    def gap(self) -> float:
        """Lead of the segmenter with the network over the best classical pipeline."""
        return self.ours[1] - self.classical[self.best]


def mean_row(cube: str, split: str, labelled: str, draws: Sequence[DrawScores]) -> Row:
    """Return the means of the scores of several draws."""
    fitted = set.intersection(*(set(draw.classical) for draw in draws))
    without, network = np.mean([draw.ours for draw in draws], axis=0).tolist()
    error, network_error = np.mean([draw.errors for draw in draws], axis=0).tolist()
    names = [name for name in draws[0].classical if name in fitted]
    classical = {name: float(np.mean([draw.classical[name] for draw in draws])) for name in names}
    return Row(cube, split, labelled, (without, network), (error, network_error), classical)


def sampled(test: Labels, most: int = TEST_PIXELS, least: int = TEST_PIXELS_PER_CLASS) -> Labels:
    """Draw test pixels in proportion to their classes, but at least some of each class.

    The same test labels have the same sample.

    Args:
        test: (H, W) test labels, 0 = not tested.
        most: number of pixels that is exceeded only by the least numbers of the classes.
        least: fewest pixels of each class, or all of a class with fewer.
    """
    generator = np.random.default_rng(0)
    result = np.zeros_like(test)
    fraction = min(1.0, most / np.count_nonzero(test))
    for value in np.unique(test[test > 0]):
        members = np.flatnonzero(test == value)
        n = min(members.size, max(least, int(fraction * members.size)))
        result.flat[generator.choice(members, n, replace=False)] = value
    return result


def expected_calibration_error(prediction: Prediction, test: Labels) -> float:
    """Compute the expected calibration error of the largest probability, 0..1.

    ECE = Σ_b n_b / n |accuracy_b − mean probability_b| over bins b of equal width (Guo et al., "On
    calibration of modern neural networks", 2017).
    """
    tested = test > 0
    confidence = prediction.probabilities[tested].max(axis=1)
    correct = prediction.labels[tested] == test[tested]
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    differences = np.bincount(bins, correct - confidence.astype(float), minlength=ECE_BINS)
    return float(np.abs(differences).sum() / correct.size)


def our_scores(prediction: Prediction, test: Labels) -> tuple[float, float]:
    """Return mIoU and ECE of a prediction."""
    return evaluate(prediction.labels, test).miou, expected_calibration_error(prediction, test)


def rows_of_cube(case: Case, model: CARL, n_draws: int) -> Iterator[Row]:
    """Yield the rows of a cube."""
    bank = carl.compute_features(case.cube)
    features = (bank, bank.add_network(model))
    tables = feature_tables(np.nan_to_num(case.cube.to_numpy()), case.labels)
    for splits, counts in ((PIXEL_SPLITS, PIXEL_COUNTS), (STROKE_SPLITS, STROKE_COUNTS)):
        for (name, split), count in product(splits.items(), counts):
            draws = [
                draw_scores(features, tables, case.labels, *split(case.labels, count, seed))
                for seed in range(n_draws)
            ]
            yield mean_row(case.name, name, counts[count], draws)


def draw_scores(
    features: tuple[CubeFeatures, CubeFeatures],
    tables: FeatureTables,
    labels: Labels,
    training: Labels,
    test: Labels,
) -> DrawScores:
    """Fit everything to a draw of training labels and test it.

    Args:
        features: of the cube without and with the network.
        tables: features of its labelled pixels for the classical pipelines.
        labels: all labels of the cube.
        training: (H, W) training labels.
        test: (H, W) test labels.
    """
    test = sampled(test)
    predictions = (carl.Segmenter().fit(each, training).predict(each) for each in features)
    ours, errors = zip(*(our_scores(each, test) for each in predictions), strict=True)
    tested = {kind: _rows_at(table, labels, test) for kind, table in tables.items()}
    classical = classical_scores(tables, labels, training, {"": tested}, test)
    return DrawScores(ours, errors, classical)


def classical_scores(
    tables: FeatureTables,
    labels: Labels,
    training: Labels,
    tested: dict[str, FeatureTables],
    test: Labels,
) -> dict[str, float]:
    """Fit all pipelines and return the mIoU of each on each version of the test pixels.

    Args:
        tables: features of the labelled pixels of a cube.
        labels: its labels.
        training: (H, W) training labels.
        tested: features of the test pixels by the suffix of the pipelines' names.
        test: test labels of the same or of another cube.
    """
    chosen = {kind: _rows_at(table, labels, training) for kind, table in tables.items()}
    truth = test[test > 0]
    return {
        f"{kind}, {name}{suffix}": evaluate(classifier.predict(table[kind]), truth).miou
        for kind, name, classifier in fitted_pipelines(chosen, training[training > 0])
        for suffix, table in tested.items()
    }


def _rows_at(table: np.ndarray, labels: Labels, chosen: Labels) -> np.ndarray:
    """Return those rows of a table of the labelled pixels whose pixels are chosen."""
    return table[chosen[labels > 0] > 0]


def rows_of_pairs(case: Case, model: CARL, n_draws: int) -> Iterator[Row]:
    """Yield a row for each other recording of a cube's scene; none where no test pixel is left."""
    source = SpectralCube(
        np.nan_to_num(case.cube.to_numpy()), case.cube.wavelengths, name=case.name
    )
    bank = carl.compute_features(source)
    features = (bank, bank.add_network(model))
    tables = feature_tables(source.to_numpy(), case.labels)
    splits = [half_regions(case.labels, PAIR_COUNT, seed) for seed in range(n_draws)]
    for name, record in RECORDINGS.items():
        target = record(source)
        labels = majority(case.labels, target.shape[:2])
        draws = [
            (training, np.where(labels > 0, majority(test, target.shape[:2]), 0))
            for training, test in splits
        ]
        if all(test.any() for _, test in draws):
            scores = pair_scores(features, tables, case.labels, target, labels, draws)
            yield mean_row(case.name, name, f"{PAIR_COUNT} px", scores)


def pair_scores(
    features: tuple[CubeFeatures, CubeFeatures],
    tables: FeatureTables,
    labels: Labels,
    target: SpectralCube,
    target_labels: Labels,
    draws: Iterable[tuple[Labels, Labels]],
) -> list[DrawScores]:
    """Fit everything to a cube and test it on another recording of its scene.

    Args:
        features: of the cube without and with the network.
        tables: features of its labelled pixels for the classical pipelines.
        labels: its labels.
        target: the other recording.
        target_labels: its labels.
        draws: training labels of the cube and test labels of the other recording.
    """
    target_tables = _target_tables(features[0].cube, target, target_labels)
    target_features: list[CubeFeatures] = []
    results = []
    for training, drawn in draws:
        test = sampled(drawn)
        segmenters = [carl.Segmenter().fit(each, training) for each in features]
        if not target_features:  # they depend on the features of the cube, not on the labels
            target_features = [each.compute_features(target) for each in segmenters]
        predictions = (
            segmenter.predict(each)
            for segmenter, each in zip(segmenters, target_features, strict=True)
        )
        ours, errors = zip(*(our_scores(each, test) for each in predictions), strict=True)
        tested = {
            suffix: {kind: _rows_at(table, target_labels, test) for kind, table in each.items()}
            for suffix, each in target_tables.items()
        }
        classical = classical_scores(tables, labels, training, tested, test)
        results.append(DrawScores(ours, errors, classical))
    return results


def _target_tables(
    source: SpectralCube, target: SpectralCube, labels: Labels
) -> dict[str, FeatureTables]:
    """Return the features of another recording, standardised by the source and by itself."""
    bands = interpolation_matrix(target.require_wavelengths(), source.require_wavelengths())
    spectra, like = target.to_numpy() @ bands, source.to_numpy()
    return {
        "": feature_tables(spectra, labels, like, standardise_like=True),
        ", aligned": feature_tables(spectra, labels, like),
    }


def table_row(row: Row) -> str:
    """Return a row of the table as text."""
    without, network = row.ours
    cells = (row.cube, row.split, row.labelled, f"{without:.3f}", f"{network:.3f}")
    return _line(*cells, f"{row.classical[row.best]:.3f}", row.best, f"{row.gap:+.3f}")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _heading(*cells: str) -> str:
    return f"{_line(*cells)}\n{'|---' * len(cells)}|"


def summary(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the means over the cubes, and how often the segmenter is behind."""
    single = best_pipeline(rows)
    titles = ("without network", "with network", "best classical", single, "behind")
    yield _heading("tested on", "labelled", *titles)
    groups = dict.fromkeys((row.split, row.labelled) for row in rows)
    for split, labelled in groups:
        chosen = [row for row in rows if (row.split, row.labelled) == (split, labelled)]
        yield _line(split, labelled, *_means(chosen, single))
    yield _line("all", "all", *_means(rows, single))


def best_pipeline(rows: Sequence[Row]) -> str:
    """Return the classical pipeline with the best mean, of those that could be fitted in all rows.

    Logistic regression can always be fitted.
    """
    fitted = set.intersection(*(set(row.classical) for row in rows))
    names = [name for name in rows[0].classical if name in fitted]
    return max(names, key=lambda name: np.mean([row.classical[name] for row in rows]))


def _means(rows: Sequence[Row], single: str) -> list[str]:
    values = [(*row.ours, row.classical[row.best], row.classical[single]) for row in rows]
    behind = sum(row.gap < -MARGIN for row in rows)
    return [*(f"{mean:.3f}" for mean in np.mean(values, axis=0)), f"{behind} of {len(rows)}"]


def network_gains(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the mean gain of mIoU by the network per number of labels, and the smallest."""
    yield _heading("labelled", "mean gain by the network", "smallest", "where")
    for labelled in dict.fromkeys(row.labelled for row in rows):
        chosen = [row for row in rows if row.labelled == labelled]
        least = min(chosen, key=lambda row: row.gain)
        mean = np.mean([row.gain for row in chosen])
        where = f"{least.cube}, {least.split}"
        yield _line(labelled, f"{mean:+.3f}", f"{least.gain:+.3f}", where)


def calibration(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the expected calibration errors of the cubes."""
    yield _heading("cube", "ECE without network", "ECE with network")
    for row in rows:
        if (row.split, row.labelled) == CALIBRATED:
            yield _line(row.cube, *(f"{error:.3f}" for error in row.errors))


RowsOf = Callable[[Case, CARL, int], Iterator[Row]]
"""Function of a cube, a network and a number of draws that yields rows."""


def measure(rows_of: RowsOf, model: str, n_draws: int, name: str) -> list[Row]:
    """Return all rows of a cube, given the names of the network and of the cube."""
    return list(rows_of(CASES[name](), carl.load_model(model), n_draws))


def prepare_process() -> None:
    """Limit this process to one thread; omit warnings of classes with a single pixel."""
    warnings.filterwarnings("ignore", "Only one sample available")
    torch.set_num_threads(1)
    threadpool_limits(1)


def measure_all(
    rows_of: RowsOf, names: Sequence[str], model: str, n_draws: int, n_processes: int
) -> Iterator[Row]:
    """Yield the rows of all cubes, which are measured in several processes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, context, prepare_process) as pool:
        for rows in pool.map(partial(measure, rows_of, model, n_draws), names):
            yield from rows


def main() -> None:
    """Print the table and its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = available(*(name for name in CASES if name != "sample"))
    parser.add_argument("--data", choices=CASES, nargs="+", default=known)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or file of a network")
    parser.add_argument("--draws", type=int, default=5, help="random draws of labelled pixels")
    parser.add_argument("--pairs", action="store_true", help="test on other recordings")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    print(f"{machine_line()}\n{options.model}; mIoU, mean of {options.draws} draws\n")
    titles = ("without network", "with network", "best classical", "pipeline", "gap")
    tested = "recording" if options.pairs else "tested on"
    print(_heading("cube", tested, "labelled", *titles), flush=True)
    rows_of = rows_of_pairs if options.pairs else rows_of_cube
    rows = []
    for row in measure_all(rows_of, options.data, options.model, options.draws, options.processes):
        print(table_row(row), flush=True)
        rows.append(row)
    sections = [summary(rows), network_gains(rows)]
    if not options.pairs:
        sections.append(calibration(rows))
    for section in sections:
        print("", *section, sep="\n")


if __name__ == "__main__":
    main()
