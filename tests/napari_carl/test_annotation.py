"""Strokes and classes of a cube, and their history."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import LabelError
from carl.io import LabelClass
from napari_carl.annotation import Annotation, LoadedModel


@pytest.fixture
def annotation():
    return Annotation((6, 8))


@pytest.fixture
def published(annotation):
    """The signals that were emitted, by name."""
    names = []
    annotation.strokes_changed.connect(lambda: names.append("strokes"))
    annotation.model_changed.connect(lambda: names.append("model"))
    annotation.repainted.connect(lambda: names.append("repainted"))
    return names


def names(annotation):
    return {known.value: known.name for known in annotation.classes}


def paint(annotation, row, value):
    """Paint a row as a layer does, in place."""
    annotation.pixels[row] = value
    annotation.commit()


def test_every_committed_stroke_is_one_edit(annotation):
    paint(annotation, 0, 1)
    paint(annotation, 1, 2)
    assert [annotation.state.strokes[row, 0] for row in (0, 1)] == [1, 2]

    annotation.undo()
    assert [annotation.pixels[row, 0] for row in (0, 1)] == [1, 0]
    annotation.undo()
    assert not annotation.pixels.any()
    assert not annotation.can_undo
    annotation.undo()  # nothing happens

    annotation.redo()
    annotation.redo()
    assert [annotation.pixels[row, 0] for row in (0, 1)] == [1, 2]
    assert not annotation.can_redo


def test_effects_are_published_once_for_several_strokes(annotation, published):
    paint(annotation, 0, 1)
    paint(annotation, 1, 1)
    assert published == []

    annotation.publish()
    annotation.publish()

    assert published == ["strokes"]


def test_an_undone_stroke_is_painted_and_published(annotation, published):
    paint(annotation, 0, 1)
    annotation.publish()
    published.clear()

    annotation.undo()

    assert published == ["repainted", "strokes"]


def test_a_new_stroke_ends_redo(annotation):
    paint(annotation, 0, 1)
    annotation.undo()
    paint(annotation, 1, 1)

    annotation.redo()

    assert annotation.pixels.any(axis=1).tolist() == [False, True, False, False, False, False]


def test_the_state_is_never_changed_in_place(annotation):
    paint(annotation, 0, 1)
    before = annotation.state.strokes
    annotation.pixels[:] = 2
    annotation.undo()

    assert before[0].tolist() == [1] * 8
    assert not before[1:].any()


def test_a_removed_class_returns_with_its_strokes_name_and_colour(annotation):
    annotation.classes.rename(2, "vessel")
    annotation.classes.recolour(2, (9, 8, 7))
    paint(annotation, 3, 2)
    before = tuple(annotation.classes)

    annotation.remove_class(2)
    assert names(annotation) == {1: "Class 1"}
    assert not annotation.pixels.any()

    annotation.undo()
    assert tuple(annotation.classes) == before
    assert annotation.pixels[3].tolist() == [2] * 8


def test_edits_of_classes_are_undone_in_their_order_among_strokes(annotation):
    annotation.classes.rename(1, "lumen")
    paint(annotation, 0, 1)
    annotation.classes.add()
    annotation.classes.recolour(1, (1, 2, 3))

    annotation.undo()
    assert annotation.classes[1].colour != (1, 2, 3)
    annotation.undo()
    assert len(annotation.classes) == 2
    annotation.undo()
    assert not annotation.pixels.any()
    annotation.undo()
    assert names(annotation) == {1: "Class 1", 2: "Class 2"}


def test_values_without_a_class_get_one_in_the_same_edit(annotation):
    paint(annotation, 0, 7)
    assert names(annotation)[7] == "Class 7"

    annotation.undo()

    assert 7 not in names(annotation)


@pytest.mark.parametrize(
    ("strokes", "message"),
    [(np.zeros((5, 8), int), "5 × 8"), (np.full((6, 8), 300), "300"), (np.full((6, 8), -1), "-1")],
)
def test_strokes_of_another_size_or_range_are_refused(annotation, strokes, message):
    with pytest.raises(LabelError, match=message):
        annotation.set_strokes(strokes)

    assert not annotation.can_undo


def test_added_strokes_change_no_labelled_pixel(annotation):
    paint(annotation, 0, 1)
    added = np.full((6, 8), 3)

    annotation.add_strokes(added)
    assert annotation.pixels[:2, 0].tolist() == [1, 3]
    assert names(annotation) == {1: "Class 1", 2: "Class 2", 3: "Class 3"}

    annotation.undo()
    annotation.add_strokes(added, [*annotation.classes, LabelClass(3, "new", (1,) * 3)])
    assert names(annotation) == {1: "Class 1", 2: "Class 2", 3: "new"}


def test_restored_strokes_are_no_edit_unless_something_was_edited(annotation):
    saved = np.zeros((6, 8), np.uint8)
    saved[2] = 2
    annotation.restore(saved, [LabelClass(2, "vessel", (1, 2, 3))])
    assert names(annotation) == {2: "vessel"}
    assert not annotation.can_undo

    paint(annotation, 4, 2)
    annotation.restore(saved[::-1], annotation.classes)
    assert annotation.can_undo


def loaded(*classes):
    return LoadedModel(Path("model.carl"), SimpleNamespace(classes=classes))


def test_a_model_is_loaded_and_unloaded_as_edits(annotation, published):
    paint(annotation, 0, 1)
    annotation.publish()
    published.clear()
    model = loaded(LabelClass(1, "stroma", (1, 2, 3)), LabelClass(2, "blood", (4, 5, 6)))

    annotation.load_model(model)
    assert annotation.state.model is model
    assert names(annotation) == {1: "stroma", 2: "blood"}
    annotation.unload_model()
    assert annotation.state.model is None
    annotation.undo()
    assert annotation.state.model is model
    annotation.undo()
    assert annotation.state.model is None
    assert names(annotation) == {1: "Class 1", 2: "Class 2"}
    assert published == ["model"] * 4


def test_strokes_get_the_values_of_a_model_by_name(annotation):
    paint(annotation, 0, 1)
    paint(annotation, 3, 2)
    annotation.classes.rename(1, "Blood")
    annotation.classes.rename(2, "nerve")
    annotation.load_model(
        loaded(LabelClass(2, "blood", (4, 5, 6)), LabelClass(3, "fat", (1, 2, 3))), by_name=True
    )
    assert names(annotation) == {1: "nerve", 2: "blood", 3: "fat"}
    assert annotation.pixels[[0, 3], 0].tolist() == [2, 1]


def test_a_model_of_all_values_leaves_no_value_for_another_class(annotation):
    paint(annotation, 0, 1)
    annotation.classes.rename(1, "nerve")
    before = annotation.state
    model = loaded(*(LabelClass(value, f"tissue {value}", (1, 2, 3)) for value in range(1, 256)))
    with pytest.raises(LabelError, match="more than 255 classes"):
        annotation.load_model(model, by_name=True)
    assert annotation.state is before


def test_classes_edited_before_the_saved_ones_are_found_stay(annotation):
    annotation.classes.rename(1, "nerve")
    paint(annotation, 0, 3)
    saved = np.zeros((6, 8), np.uint8)
    saved[2] = 2
    colour = (1, 2, 3)
    annotation.restore(saved, [LabelClass(1, "fat", colour), LabelClass(2, "vessel", colour)])
    assert names(annotation) == {1: "nerve", 2: "vessel", 3: "Class 3"}
    assert annotation.pixels[[0, 2], 0].tolist() == [3, 2]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["paint", "erase", "undo", "redo", "add", "remove"]),
            st.integers(0, 5),
            st.integers(1, 4),
        ),
        max_size=30,
    )
)
def test_undo_returns_to_the_start_and_redo_to_the_end(acts):
    annotation = Annotation((6, 8))
    for act, row, value in acts:
        if act == "paint":
            paint(annotation, row, value)
        elif act == "erase":
            paint(annotation, row, 0)
        elif act == "add":
            annotation.classes.add()
        elif act == "remove" and value in annotation.classes:
            annotation.remove_class(value)
        elif act in ("undo", "redo"):
            getattr(annotation, act)()
    end, classes = annotation.pixels.copy(), tuple(annotation.classes)
    n_undone = 0
    while annotation.can_undo:
        annotation.undo()
        n_undone += 1
    assert not annotation.pixels.any()
    assert names(annotation) == {1: "Class 1", 2: "Class 2"}
    for _ in range(n_undone):
        annotation.redo()
    np.testing.assert_array_equal(annotation.pixels, end)
    assert tuple(annotation.classes) == classes
    np.testing.assert_array_equal(annotation.state.strokes, annotation.pixels)
