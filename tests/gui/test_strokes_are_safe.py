"""Nothing that was painted or named is lost, and what the window shows belongs together."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton
from robot import UserInput

from carl.cube import SpectralCube
from napari_carl import autosave
from napari_carl.jobs import JobKind
from napari_carl.layer_data import cube_layers
from napari_carl.panels.annotate import AnnotatePanel, ClassRow
from napari_carl.steps import Step

CONTROL = Qt.KeyboardModifier.ControlModifier

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def session(dock):
    return dock.session


@pytest.fixture
def second_cube(small_cube):
    """Another cube, of another size."""
    cube, _ = small_cube
    return SpectralCube(cube.data[:40, :60] + 1, cube.wavelengths, name="leaf")


def paint_both(user):
    user.press(Qt.Key.Key_1)
    user.paint((10, 5), (10, 25))
    user.press(Qt.Key.Key_2)
    user.paint((30, 40), (30, 60))


def strokes_of(viewer, name="two tissues"):
    return viewer.layers[f"{name} strokes"].data


def is_restored(session):
    return session.jobs.state(JobKind.RESTORING) is None


def is_segmented(session):
    return session.segmentation_is_current and session.segmentation.complete.is_set()


def row_of(dock, value):
    return next(row for row in dock.findChildren(ClassRow) if row._value == value)


def click(qtbot, parent, text):
    (button,) = [each for each in parent.findChildren(QPushButton) if each.text() == text]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def names(session):
    return {known.value: known.name for known in session.classes}


@pytest.mark.parametrize("removed", ["all layers", "the strokes"])
def test_strokes_survive_the_removal_of_layers(
    viewer, session, user, small_cube, show, qtbot, removed
):
    show(small_cube[0])
    qtbot.waitUntil(lambda: is_restored(session))
    paint_both(user)
    session.classes.rename(1, "lumen")
    painted = strokes_of(viewer).copy()
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.AUTOSAVING) is None)

    if removed == "all layers":
        viewer.layers.select_all()
        viewer.layers.remove_selected()
        qtbot.waitUntil(lambda: len(viewer.layers) == 0)
        assert session.cube is None
        show(SpectralCube(small_cube[0].data.copy(), small_cube[0].wavelengths, name="again"))
        qtbot.waitUntil(lambda: is_restored(session))
        np.testing.assert_array_equal(strokes_of(viewer, "again"), painted)
    else:
        viewer.layers.remove("two tissues strokes")
        np.testing.assert_array_equal(session.strokes, painted)
        user.press(Qt.Key.Key_Z, CONTROL)
        np.testing.assert_array_equal(strokes_of(viewer), painted)
    assert names(session) == {1: "lumen", 2: "Class 2"}


def test_each_cube_has_a_table_of_classes(
    viewer, dock, session, user, small_cube, second_cube, show, qtbot
):
    show(small_cube[0])
    qtbot.waitUntil(lambda: is_restored(session))
    session.classes.rename(1, "lumen")
    paint_both(user)
    show(second_cube)
    qtbot.waitUntil(lambda: is_restored(session))
    session.classes.rename(1, "leaf")
    session.classes.recolour(1, (255, 0, 0))
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.AUTOSAVING) is None)

    session.select_cube(small_cube[0])

    assert names(session) == {1: "lumen", 2: "Class 2"}
    assert row_of(dock, 1)._name.text() == "lumen"
    colour = viewer.layers["two tissues strokes"].get_color(1)
    assert tuple(colour[:3]) != (1, 0, 0)
    assert tuple(viewer.layers["leaf strokes"].get_color(1)[:3]) == (1, 0, 0)


def test_a_deleted_class_returns_by_undo_with_its_strokes_and_its_name(
    viewer, dock, session, user, small_cube, show, qtbot
):
    show(small_cube[0])
    session.classes.rename(2, "vessel")
    paint_both(user)
    painted = strokes_of(viewer).copy()

    click(qtbot, row_of(dock, 2), "✕")
    assert names(session) == {1: "Class 1"}
    assert set(np.unique(strokes_of(viewer))) == {0, 1}
    user.press(Qt.Key.Key_Z, CONTROL)

    assert names(session) == {1: "Class 1", 2: "vessel"}
    assert row_of(dock, 2)._name.text() == "vessel"
    np.testing.assert_array_equal(strokes_of(viewer), painted)


def test_undo_and_redo_buttons_follow_the_history(dock, session, user, small_cube, show, qtbot):
    show(small_cube[0])
    panel = dock.findChild(AnnotatePanel)
    undo, redo = (
        next(each for each in panel.findChildren(QPushButton) if each.text() == text)
        for text in ("Undo", "Redo")
    )
    assert not undo.isEnabled()
    user.press(Qt.Key.Key_1)
    user.paint((10, 5), (10, 25))
    user.paint((20, 5), (20, 25))

    qtbot.mouseClick(undo, Qt.MouseButton.LeftButton)
    assert session.strokes[10].any()
    assert not session.strokes[20].any()
    qtbot.mouseClick(redo, Qt.MouseButton.LeftButton)
    assert session.strokes[20].any()
    assert not redo.isEnabled()


def test_a_map_without_its_classes_is_neither_shown_nor_exported(
    viewer, dock, session, user, small_cube, show, qtbot, tmp_path
):
    show(small_cube[0])
    paint_both(user)
    qtbot.waitUntil(lambda: is_segmented(session))
    assert dock.sections[Step.EXPORT].body.isEnabled()

    click(qtbot, row_of(dock, 2), "✕")

    assert session.segmentation is None
    assert not viewer.layers["two tissues map"].data.any()
    assert not dock.sections[Step.EXPORT].body.isEnabled()
    assert "%" not in dock.sections[Step.LEARN]._status.text()
    user.press(Qt.Key.Key_Z, CONTROL)
    qtbot.waitUntil(lambda: is_segmented(session))
    assert dock.sections[Step.EXPORT].body.isEnabled()


def test_a_map_of_earlier_strokes_is_marked_and_not_exported(
    viewer, dock, session, user, small_cube, show, qtbot
):
    show(small_cube[0])
    paint_both(user)
    qtbot.waitUntil(lambda: is_segmented(session))
    session.set_automatic(False)

    user.paint((35, 40), (35, 60))

    qtbot.waitUntil(lambda: "two tissues map (out of date)" in viewer.layers)
    assert not dock.sections[Step.EXPORT].body.isEnabled()
    assert "out of date" in dock.sections[Step.LEARN]._status.text()
    session.segment()
    qtbot.waitUntil(lambda: is_segmented(session))
    assert "two tissues map" in viewer.layers
    assert dock.sections[Step.EXPORT].body.isEnabled()


def test_the_counts_of_another_cube_are_not_shown(
    dock, session, user, small_cube, second_cube, show
):
    show(small_cube[0])
    paint_both(user)

    show(second_cube)

    assert row_of(dock, 1)._pixels.text() == "–"
    assert "Draw" in dock.sections[Step.ANNOTATE]._status.text()


def test_the_layers_of_a_cube_leave_with_it(
    viewer, session, user, small_cube, second_cube, show, qtbot
):
    show(second_cube)
    show(small_cube[0])
    paint_both(user)
    qtbot.waitUntil(lambda: is_segmented(session))

    viewer.layers.remove("two tissues")

    qtbot.waitUntil(lambda: not any("two tissues" in layer.name for layer in viewer.layers))
    assert session.cube is second_cube


def test_a_dock_that_is_opened_again_continues_with_the_same_layers(
    viewer, dock, user, small_cube, show, qtbot
):
    show(small_cube[0])
    paint_both(user)
    dock.session.classes.rename(1, "lumen")
    qtbot.waitUntil(lambda: is_segmented(dock.session))
    before = [layer.name for layer in viewer.layers]
    viewer.window.remove_dock_widget(dock.parent())
    strokes = viewer.layers["two tissues strokes"]
    strokes.data_setitem((np.full(10, 40), np.arange(10)), 1)  # while no dock is open

    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")

    session = dock.session
    assert len(viewer.layers) == len(before)
    assert viewer.layers["two tissues strokes"] is strokes
    assert names(session) == {1: "lumen", 2: "Class 2"}
    qtbot.waitUntil(lambda: is_restored(session))
    assert session.strokes[40, :10].all()
    qtbot.waitUntil(lambda: is_segmented(session))
    user.press(Qt.Key.Key_2)
    user.paint((36, 40), (36, 60))
    qtbot.waitUntil(lambda: session.strokes[36].any())
    qtbot.waitUntil(lambda: is_segmented(session))
    assert sorted(layer.name for layer in viewer.layers) == sorted(before)


def test_strokes_painted_while_saved_ones_are_searched_are_merged(
    viewer, dock, session, user, small_cube, show, qtbot, monkeypatch
):
    cube = small_cube[0]
    show(cube)
    qtbot.waitUntil(lambda: is_restored(session))
    user.press(Qt.Key.Key_1)
    user.paint((10, 5), (10, 25))
    saved = strokes_of(viewer).copy()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.AUTOSAVING) is None)

    may_end, find = threading.Event(), autosave._find_versions

    def find_slowly(*arguments):
        may_end.wait()
        return find(*arguments)

    monkeypatch.setattr(autosave, "_find_versions", find_slowly)
    show(SpectralCube(cube.data, cube.wavelengths, name="again"))
    user.press(Qt.Key.Key_2)
    user.paint((30, 40), (30, 60))
    early = strokes_of(viewer, "again").copy()
    assert not is_restored(session)
    may_end.set()

    qtbot.waitUntil(lambda: is_restored(session))
    np.testing.assert_array_equal(session.strokes, np.where(early, early, saved))
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.AUTOSAVING) is None)


def test_two_windows_on_one_cube_are_reported_and_merged(
    viewer, dock, session, user, small_cube, show, qtbot, make_napari_viewer
):
    cube = small_cube[0]
    show(cube)
    qtbot.waitUntil(lambda: is_restored(session))
    other = make_napari_viewer(show=True)
    _, other_dock = other.window.add_plugin_dock_widget("napari-carl", "CARL")
    for data, attributes, kind in cube_layers(SpectralCube(cube.data.copy(), cube.wavelengths)):
        other.add_layer(Layer.create(data, attributes, kind))
    qtbot.waitUntil(lambda: is_restored(other_dock.session))
    assert other_dock._controller.autosave.is_shared

    user.press(Qt.Key.Key_1)
    user.paint((10, 5), (10, 25))
    other_user = UserInput(other, other_dock.window())
    other_user.press(Qt.Key.Key_2)
    other_user.paint((30, 40), (30, 60))
    expected = np.maximum(session.strokes, other_dock.session.strokes)
    other.window.remove_dock_widget(other_dock.parent())
    other.close()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.AUTOSAVING) is None)

    show(SpectralCube(cube.data, cube.wavelengths, name="again"))
    qtbot.waitUntil(lambda: is_restored(session))
    np.testing.assert_array_equal(session.strokes, expected)
    assert dock._controller.autosave.restored.n_windows == 2
