from functools import partial

import few_strokes
import numpy as np
import pytest
from cases import Case
from classical import CLASSIFIERS
from few_strokes import (
    CALIBRATED,
    PIXEL_SPLITS,
    STROKE_SPLITS,
    DrawScores,
    Row,
    best_pipeline,
    calibration,
    expected_calibration_error,
    mean_row,
    network_gains,
    rows_of_cube,
    rows_of_pairs,
    sampled,
    summary,
    table_row,
)
from recordings import RECORDINGS
from sklearn.ensemble import RandomForestClassifier

from carl import LabelClass
from carl.learning import Prediction

CLASSES = (LabelClass(1, "one", (9, 0, 0)), LabelClass(2, "two", (0, 9, 0)))


@pytest.fixture
def quick(monkeypatch):
    """Use small forests and few numbers of labels."""
    monkeypatch.setitem(CLASSIFIERS, "random forest", partial(RandomForestClassifier, 5))
    monkeypatch.setattr(few_strokes, "PIXEL_COUNTS", {20: "20 px"})
    monkeypatch.setattr(few_strokes, "STROKE_COUNTS", {1: "1 stroke"})


def row(cube="a", split="other regions", labelled="20 px", ours=(0.6, 0.7), **classical) -> Row:
    return Row(cube, split, labelled, ours, (0.1, 0.2), classical or {"A": 0.5, "B": 0.8})


@pytest.mark.usefixtures("quick")
def test_all_labels_and_splits_of_a_cube_are_measured(cube, labels, tiny_model):
    rows = list(rows_of_cube(Case("stripes", cube, labels), tiny_model, 1))

    measured = {(each.split, each.labelled) for each in rows}
    pixels = {(split, "20 px") for split in PIXEL_SPLITS}
    assert measured == pixels | {(split, "1 stroke") for split in STROKE_SPLITS}
    assert len(rows) == len(measured)
    of_many = next(each for each in rows if (each.split, each.labelled) == CALIBRATED)
    assert len(of_many.classical) == 16
    assert of_many.ours[0] > 0.9
    assert of_many.classical[of_many.best] > 0.95


@pytest.mark.usefixtures("quick")
def test_pairs_of_every_recording_are_measured(cube, labels, tiny_model):
    rows = {each.split: each for each in rows_of_pairs(Case("s", cube, labels), tiny_model, 1)}

    assert set(rows) == set(RECORDINGS)
    for each in rows.values():
        assert len(each.classical) == 32  # standardised in two ways
    units = rows["counts"].classical
    assert units["raw spectra, SVM, aligned"] > units["raw spectra, SVM"]


def test_test_pixels_are_sampled_from_every_class(labels):
    labels[labels == 3] = 0
    labels[0, 1:7] = 3

    some = sampled(labels, most=300, least=20)

    assert (some[some > 0] == labels[some > 0]).all()
    n = [np.sum(some == value) for value in (1, 2, 3)]
    assert n[2] == 6
    assert 290 <= sum(n) <= 306
    assert (sampled(labels) == labels).all()


def test_calibration_error_is_the_distance_of_probability_and_accuracy():
    probabilities = np.array([[[0.9, 0.1]] * 10])
    prediction = Prediction(np.log(probabilities).astype(np.float32), CLASSES)
    truth = np.ones((1, 10), np.uint8)

    assert expected_calibration_error(prediction, truth) == pytest.approx(0.1, abs=1e-5)
    truth[0, 0] = 2
    assert expected_calibration_error(prediction, truth) == pytest.approx(0, abs=1e-5)
    truth[0, 1:] = 0  # the only tested pixel is wrong
    assert expected_calibration_error(prediction, truth) == pytest.approx(0.9, abs=1e-5)


def test_rows_are_means_of_draws_without_pipelines_that_were_not_fitted():
    draws = [
        DrawScores((0.5, 0.6), (0.1, 0.1), {"A": 0.4, "B": 1.0}),
        DrawScores((0.7, 0.8), (0.3, 0.1), {"A": 0.6}),
    ]

    mean = mean_row("a", "other regions", "2 px", draws)

    assert mean.ours == pytest.approx((0.6, 0.7))
    assert mean.errors == pytest.approx((0.2, 0.1))
    assert mean.classical == pytest.approx({"A": 0.5})
    assert mean.gap == pytest.approx(0.2)
    assert table_row(mean) == "| a | other regions | 2 px | 0.600 | 0.700 | 0.500 | A | +0.200 |"


def test_the_summary_compares_with_the_best_of_each_row_and_the_best_on_average():
    rows = [row(A=0.7, B=0.2), row("b", A=0.6, B=0.65), row("c", A=0.75, B=0.1, C=1.0)]

    heading, of_group, of_all = summary(rows)

    assert best_pipeline(rows) == "A"  # C could not be fitted in all rows
    assert "| best classical | A | behind |" in heading
    expected = "0.600 | 0.700 | 0.783 | 0.683 | 1 of 3 |"
    assert of_group == f"| other regions | 20 px | {expected}"
    assert of_all == f"| all | all | {expected}"


def test_gains_of_the_network_are_listed_with_the_smallest():
    rows = [row(ours=(0.5, 0.6)), row("b", ours=(0.5, 0.4)), row(labelled="2 px")]

    _, *lines = network_gains(rows)

    assert lines == [
        "| 20 px | +0.000 | -0.100 | b, other regions |",
        "| 2 px | +0.100 | +0.100 | a, other regions |",
    ]


def test_calibration_is_listed_for_one_split():
    _, *lines = calibration([row(), row("b", split="other pixels"), row("c", labelled="5 px")])

    assert lines == ["| a | 0.100 | 0.200 |"]
