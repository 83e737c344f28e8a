from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from carl.errors import LabelError
from carl.metrics import evaluate, evaluate_multilabel

MAPS = hnp.arrays(np.uint8, (7, 5), elements=st.integers(0, 4))


def test_perfect_map_scores_one() -> None:
    truth = np.array([[0, 1], [2, 2]])
    scores = evaluate(np.array([[2, 1], [2, 2]]), truth)
    assert scores.accuracy == scores.miou == 1.0
    assert scores.iou == {1: 1.0, 2: 1.0}
    assert scores.n_pixels == 3


def test_unpredicted_pixels_are_errors() -> None:
    scores = evaluate(np.array([[1, 0, 0, 2]]), np.array([[1, 1, 2, 2]]))
    assert scores.accuracy == 0.5
    assert scores.iou == {1: 0.5, 2: 0.5}
    assert scores.values == (0, 1, 2)
    np.testing.assert_array_equal(scores.confusion, [[0, 0, 0], [1, 1, 0], [1, 0, 1]])


def test_class_absent_from_truth_has_no_iou() -> None:
    scores = evaluate(np.array([1, 1, 7, 2]), np.array([1, 1, 2, 2]))
    assert scores.iou == {1: 1.0, 2: 0.5}
    assert scores.miou == 0.75


@given(predicted=MAPS, truth=MAPS)
def test_agrees_with_scikit_learn(predicted: np.ndarray, truth: np.ndarray) -> None:
    labelled = truth > 0
    if not labelled.any():
        with pytest.raises(LabelError, match="no labelled pixel"):
            evaluate(predicted, truth)
        return
    scores = evaluate(predicted, truth)
    y_true, y_pred = truth[labelled], predicted[labelled]
    assert scores.accuracy == pytest.approx(reference.accuracy_score(y_true, y_pred))
    classes = np.unique(y_true)
    ious = reference.jaccard_score(y_true, y_pred, labels=classes, average=None, zero_division=0)
    assert scores.iou == pytest.approx(dict(zip(classes.tolist(), ious, strict=True)))
    assert scores.confusion.sum() == scores.n_pixels == labelled.sum()


@pytest.mark.parametrize(
    ("predicted", "message"),
    [(np.ones((2, 3), int), "shape"), (np.ones((2, 2)), "integers")],
)
def test_incomparable_maps_are_refused(predicted: np.ndarray, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        evaluate(predicted, np.ones((2, 2), int))


@given(
    hnp.arrays(np.bool_, (6, 4)),
    hnp.arrays(np.bool_, (6, 4)).filter(lambda truth: truth.any()),
)
def test_multilabel_scores_agree_with_scikit_learn(guess: np.ndarray, truth: np.ndarray) -> None:
    scores = evaluate_multilabel(guess, truth)
    present = (guess | truth).any(axis=0)
    expected = reference.f1_score(truth, guess, average=None, zero_division=0)
    assert list(scores.f1) == np.flatnonzero(present).tolist()
    np.testing.assert_allclose(list(scores.f1.values()), expected[present])
    assert scores.mean_f1 == pytest.approx(expected[present].mean())
    assert scores.accuracy == pytest.approx(reference.accuracy_score(truth, guess))


def test_incomparable_multilabel_tables_are_refused() -> None:
    with pytest.raises(LabelError, match=r"\(2, 3\) and the truth \(2, 4\)"):
        evaluate_multilabel(np.zeros((2, 3)), np.ones((2, 4)))
    with pytest.raises(LabelError, match="no image with a class"):
        evaluate_multilabel(np.ones((2, 3)), np.zeros((2, 3)))


def test_scores_print_as_tables() -> None:
    scores = evaluate([1, 1, 2, 2], [1, 1, 2, 1])
    assert repr(scores).splitlines() == [
        "pixels    4",
        "accuracy  0.7500",
        "mIoU      0.5833",
        "IoU 1     0.6667",
        "IoU 2     0.5000",
    ]
    assert "<tr><th>accuracy</th><td>0.7500</td></tr>" in scores._repr_html_()
    assert scores.rows({1: "lumen"})["IoU lumen"] == "0.6667"
    assert repr(evaluate_multilabel([[1, 0]], [[1, 0]])).startswith("accuracy  1.0000\nmean F1")
