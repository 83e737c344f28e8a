"""Labels of other origin: their fit to a cube, their classes, the score of a map against them."""

from __future__ import annotations

import numpy as np
import pytest

from carl.errors import LabelError
from carl.io import LabelClass
from napari_carl.foreign_labels import (
    ForeignLabels,
    disagree,
    joined,
    matched_by_name,
    score_map,
)


def classes(**values):
    return tuple(LabelClass(value, name, (value,) * 3) for name, value in values.items())


def unnamed(*values):
    return tuple(LabelClass(value, f"Class {value}", (value,) * 3) for value in values)


def labels(pixels, known=(), name="mine"):
    return ForeignLabels(None, name, np.array(pixels), known)


def test_labels_of_another_size_or_with_more_axes_do_not_fit():
    assert labels(np.zeros((4, 5), int)).problem((4, 5)) == ""
    assert labels(np.zeros((4, 5), int)).problem((5, 4)) == (
        "'mine' is 4 × 5 pixels but the cube is 5 × 4."
    )
    assert labels(np.zeros((3, 4, 5), int)).problem((4, 5)) == (
        "'mine' has 3 axes: labels of a cube have two."
    )


@pytest.mark.parametrize("value", [-1, 256])
def test_labels_that_are_no_strokes_are_refused_in_one_sentence(value):
    with pytest.raises(LabelError, match=r"'mine' has labels from .* from 0 to 255\.$"):
        labels([[0, value]]).read_strokes()
    assert labels([[0, 255]]).read_strokes().dtype == np.uint8


def test_labels_that_cannot_be_read_are_one_sentence():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise OSError("gone")

    with pytest.raises(LabelError, match=r"'mine' cannot be read \(OSError: gone\)"):
        ForeignLabels(None, "mine", Broken()).read()


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (classes(fat=1, skin=2), classes(fat=1), False),
        (classes(fat=1, skin=2), classes(Fat=1, bone=3), False),
        (classes(fat=1), classes(skin=1), True),
        (classes(fat=1), classes(fat=2), True),
        (unnamed(1, 2), classes(fat=1, skin=2), False),
        (classes(fat=1, skin=2), unnamed(1, 2), False),
    ],
)
def test_tables_disagree_where_names_contradict(own, others, expected):
    assert disagree(own, others) is expected


def test_joined_tables_prefer_names():
    own, others = (*classes(fat=1), *unnamed(2)), (*unnamed(1), *classes(skin=2, bone=3))
    assert [each.name for each in joined(own, others)] == ["fat", "skin", "bone"]
    assert [each.name for each in joined(classes(fat=1), classes(skin=1))] == ["skin"]


def test_labels_are_matched_by_name_and_others_get_free_values():
    strokes = np.array([[0, 1, 2, 3, 9]], np.uint8)
    own = classes(fat=1, skin=2)
    matched, table = matched_by_name(strokes, own, classes(skin=1, bone=2, blood=3))
    assert matched.tolist() == [[0, 2, 3, 4, 9]]
    names = {each.value: each.name for each in table}
    assert names == {1: "fat", 2: "skin", 3: "bone", 4: "blood", 9: "Class 9"}


def test_more_classes_than_values_are_refused():
    own = tuple(LabelClass(value, f"my {value}", (0, 0, 0)) for value in range(1, 256))
    with pytest.raises(LabelError, match="more than 255 classes"):
        matched_by_name(np.array([[1]], np.uint8), own, classes(fat=1))


# ---- scores


def test_a_map_is_scored_by_value_outside_the_strokes():
    predicted = np.array([[1, 1, 2, 2]], np.uint8)
    strokes = np.array([[1, 0, 0, 0]], np.uint8)
    score = score_map(predicted, unnamed(1, 2), strokes, labels([[2, 1, 1, 2]]))
    assert score.scores.n_pixels == 3
    assert score.scores.accuracy == pytest.approx(2 / 3)
    assert score.scores.iou == {1: 0.5, 2: 0.5}
    assert not score.is_by_name


def test_a_map_is_scored_by_name_if_all_classes_have_names():
    predicted = np.array([[1, 1, 2, 2]], np.uint8)
    strokes = np.zeros((1, 4), np.uint8)
    truth = labels([[2, 2, 1, 3]], classes(skin=1, fat=2, bone=3))
    score = score_map(predicted, classes(fat=1, skin=2), strokes, truth)
    assert score.is_by_name
    assert score.scores.accuracy == 0.75
    named = {score.names[value]: iou for value, iou in score.scores.iou.items()}
    assert named == {"fat": 1.0, "skin": 0.5, "bone": 0.0}

    unknown = labels([[2, 2, 1, 3]], classes(skin=1, fat=2))  # class 3 has no name
    assert not score_map(predicted, classes(fat=1, skin=2), strokes, unknown).is_by_name


def test_labels_under_strokes_only_cannot_be_compared():
    with pytest.raises(LabelError, match=r"'mine' labels no pixel outside the strokes\.$"):
        score_map(np.ones((1, 2)), unnamed(1), np.array([[1, 0]], np.uint8), labels([[1, 0]]))
