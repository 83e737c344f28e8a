"""Offers of a session without a window: strokes, truth and cubes from layers of the user."""

from __future__ import annotations

import numpy as np
import pytest

from carl.errors import LabelError
from carl.io import LabelClass
from napari_carl.foreign_labels import ForeignLabels, MapScore
from napari_carl.image_stacks import ImageStack
from napari_carl.jobs import JobKind
from napari_carl.offers import Offers
from napari_carl.steps import describe_scores, describe_truth

NAMES = (LabelClass(1, "fat", (9, 9, 9)), LabelClass(2, "skin", (8, 8, 8)))


@pytest.fixture
def offers(session, make_cube):
    session.add_cube(make_cube())
    return Offers(session)


@pytest.fixture
def mine(strokes):
    return ForeignLabels("layer", "mine", strokes.astype(np.int32), NAMES)


def names(session):
    return {each.value: each.name for each in session.classes}


def test_labels_become_strokes_with_their_names_by_one_edit(offers, session, runner, mine, strokes):
    offers.select_labels(mine)
    offers.use_as_strokes()
    runner.go(JobKind.READING_LABELS)

    np.testing.assert_array_equal(session.strokes, strokes)
    assert names(session) == {1: "fat", 2: "skin"}
    assert next(iter(session.classes)).colour == (9, 9, 9)
    session.annotation.undo()
    assert not session.strokes.any()
    assert names(session) == {1: "Class 1", 2: "Class 2"}


def test_present_strokes_are_not_covered(offers, session, runner, mine, strokes):
    session.set_strokes(np.where(strokes == 1, 2, 0))
    offers.select_labels(mine)
    offers.use_as_strokes()
    runner.go(JobKind.READING_LABELS)
    np.testing.assert_array_equal(session.strokes, np.where(strokes, 2, 0))


@pytest.mark.parametrize(
    ("by_name", "expected", "values"),
    [
        (True, {1: "skin", 2: "blood", 3: "fat"}, (3, 1)),
        (False, {1: "fat", 2: "skin"}, (1, 2)),
    ],
)
def test_classes_of_other_names_are_asked_about(
    offers, session, runner, mine, strokes, by_name, expected, values
):
    session.classes.rename(1, "skin")
    session.classes.rename(2, "blood")
    offers.select_labels(mine)
    offers.use_as_strokes()
    runner.go(JobKind.READING_LABELS)
    assert offers.pending is not None
    assert not session.strokes.any()

    offers.add_pending(by_name=by_name)
    assert offers.pending is None
    assert names(session) == expected
    np.testing.assert_array_equal(session.strokes, np.array([0, *values])[strokes])


def test_the_question_is_dropped_with_its_layer_or_its_cube(
    offers, session, runner, mine, make_cube
):
    session.classes.rename(1, "bone")
    for leave in (
        offers.drop_pending,
        offers.select_nothing,
        lambda: session.add_cube(make_cube("another")),
    ):
        offers.select_labels(mine)
        offers.use_as_strokes()
        runner.go(JobKind.READING_LABELS)
        assert offers.pending is not None
        leave()
        assert offers.pending is None
        offers.add_pending(by_name=True)
        assert not session.strokes.any()


def test_labels_that_do_not_fit_are_not_used(offers, session, runner):
    offers.select_labels(ForeignLabels("layer", "small", np.ones((4, 5), int)))
    assert offers.problem == "'small' is 4 × 5 pixels but the cube is 12 × 16."
    offers.use_as_strokes()
    offers.use_as_truth()
    assert not runner.of(JobKind.READING_LABELS)
    assert offers.truth.labels is None


def test_an_image_is_opened_as_a_cube(offers, session, runner):
    opened, hidden = [], []
    session.opened.connect(opened.append)
    offers.cube_opened.connect(hidden.append)
    values = np.random.default_rng(0).random((5, 6, 7))
    offers.select_image(ImageStack("mine", values, 0), "layer")
    offers.use_as_cube()
    runner.go(JobKind.OPENING)
    ((_, arguments, kind),) = opened
    assert kind == "image"
    assert arguments["metadata"]["carl"]["cube"].shape == (6, 7, 5)
    assert hidden == ["layer"]


# ---- truth


@pytest.fixture
def truth(offers, session, runner, strokes):
    """The truth, used before the cube is segmented."""
    runner.go(JobKind.PRECOMPUTING)
    offers.select_labels(ForeignLabels("layer", "mine", np.full(strokes.shape, 2)))
    offers.use_as_truth()
    return offers.truth


def segment(session, runner, strokes):
    session.set_strokes(strokes)
    runner.go(JobKind.SEGMENTING)


def test_every_complete_map_is_scored(truth, session, runner, strokes):
    assert describe_truth(truth) == "Against 'mine': waiting for a complete map."
    segment(session, runner, strokes)
    runner.go(JobKind.SCORING)
    assert isinstance(truth.score, MapScore)
    n_pixels = np.count_nonzero(strokes == 0)
    assert truth.score.scores.n_pixels == n_pixels
    assert describe_truth(truth) == (
        "Against 'mine': accuracy 100 %, mIoU 1.00 (pixels without strokes; classes matched by "
        "number)"
    )
    assert describe_scores(truth) == f"{n_pixels} pixels\nIoU of Class 2: 1.00"

    runner.jobs.clear()
    session.set_strokes(strokes[::-1])
    assert truth.score is None  # of a map that is out of date
    runner.go(JobKind.SEGMENTING)
    runner.go(JobKind.SCORING)
    assert truth.score is not None


def test_a_score_that_arrives_after_another_stroke_is_dropped(truth, session, runner, strokes):
    session.set_automatic(False)
    session.set_strokes(strokes)
    session.segment()
    runner.go(JobKind.SEGMENTING)
    session.set_strokes(strokes[::-1])
    runner.go(JobKind.SCORING)
    assert truth.score is None
    assert not session.segmentation_is_current


def test_a_scored_map_is_scored_again_after_an_edit_of_the_truth(truth, session, runner, strokes):
    segment(session, runner, strokes)
    runner.go(JobKind.SCORING)
    truth.edit(ForeignLabels("layer", "renamed", np.ones(strokes.shape, int)))
    assert truth.score is None
    runner.go(JobKind.SCORING)
    assert truth.score.scores.accuracy == 0
    assert "'renamed'" in describe_truth(truth)

    truth.edit(ForeignLabels("another layer", "other", np.ones(strokes.shape, int)))
    assert "'renamed'" in describe_truth(truth)
    truth.edit(ForeignLabels("layer", "renamed", np.ones((4, 5), int)))  # replaced
    assert truth.labels is None
    assert describe_truth(truth) == ""


def test_truth_that_labels_strokes_only_gives_a_sentence(offers, session, runner, strokes):
    runner.go(JobKind.PRECOMPUTING)
    offers.select_labels(ForeignLabels("layer", "mine", strokes))
    offers.use_as_truth()
    segment(session, runner, strokes)
    runner.go(JobKind.SCORING)
    assert isinstance(offers.truth.score, LabelError)
    assert describe_truth(offers.truth) == (
        "Against the truth: 'mine' labels no pixel outside the strokes."
    )
    assert describe_scores(offers.truth) == ""


def test_the_truth_of_a_cube_is_not_that_of_another(truth, session, runner, strokes, make_cube):
    first = session.cube
    segment(session, runner, strokes)
    runner.go(JobKind.SCORING)
    session.add_cube(make_cube("another"))
    assert truth.labels is None
    assert truth.score is None
    session.select_cube(first)
    assert truth.labels is not None
    assert truth.score is None

    truth.remove()
    assert truth.layer is None
