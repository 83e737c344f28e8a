"""Strokes and classes are saved under the pixels of their cube and restored with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_carl.autosave import Autosave
from napari_carl.jobs import JobKind
from napari_carl.session import Session
from napari_carl.stroke_versions import StrokeVersions


@pytest.fixture
def autosave(session):
    return Autosave(session)


@pytest.fixture
def next_window(session, runner):
    """A function that makes a session of another window, which holds jobs of its own."""

    def make():
        window = Session(type(runner)())
        return window, Autosave(window)

    return make


@pytest.fixture
def earlier_window(session, runner, autosave, make_cube, strokes):
    """A window that has saved strokes on the cube of `make_cube`, and is closed."""
    session.add_cube(make_cube())
    runner.go_all()
    session.set_strokes(strokes)
    runner.go_all()
    autosave.close()


@pytest.fixture
def restored_window(earlier_window, next_window, make_cube):
    """The session and the autosave of the next window, in which the strokes were restored."""
    other, autosave = next_window()
    other.add_cube(make_cube())
    other.jobs._runner.go_all()
    return other, autosave


def saved_files(cube):
    versions = StrokeVersions(cube)
    versions.close()
    return [version.path for version in versions.saved]


def saved_strokes(cube):
    versions = StrokeVersions(cube)
    versions.close()
    return versions.latest


def test_strokes_are_restored_with_their_cube_under_any_name(
    session, runner, autosave, make_cube, strokes, next_window
):
    session.add_cube(make_cube())
    runner.go_all()
    session.classes.rename(1, "lumen")
    session.set_strokes(strokes)
    runner.go_all()
    autosave.close()

    other, autosave = next_window()
    cube = make_cube("renamed")
    other.add_cube(replace(cube, wavelengths=cube.wavelengths + 10))
    other.jobs._runner.go_all()

    np.testing.assert_array_equal(other.strokes, strokes)
    assert other.classes[1].name == "lumen"
    assert autosave.restored.n_pixels == np.count_nonzero(strokes)
    assert not other.annotation.can_undo


def test_strokes_of_a_known_cube_are_restored_once(session, runner, autosave, make_cube, strokes):
    cube, other = make_cube(), make_cube(bands=5)
    session.add_cube(cube)
    runner.go_all()
    session.set_strokes(strokes)
    runner.go_all()

    session.add_cube(other)
    runner.go_all()
    session.select_cube(cube)
    session.edit_cube(lambda cube: replace(cube, name="edited"))
    runner.go_all()

    assert not runner.of(JobKind.RESTORING)
    np.testing.assert_array_equal(session.strokes, strokes)


def test_strokes_painted_before_restoring_has_ended_are_added_to_the_saved_ones(
    earlier_window, make_cube, strokes, next_window
):
    other, _ = next_window()
    other.add_cube(make_cube())
    early = np.zeros_like(strokes)
    early[2, 2:4] = 2  # over strokes of class 1
    early[11] = 2
    other.set_strokes(early)
    jobs = other.jobs._runner
    assert not jobs.of(JobKind.AUTOSAVING)
    jobs.go_all()

    expected = np.where(early, early, strokes)
    np.testing.assert_array_equal(other.strokes, expected)
    np.testing.assert_array_equal(saved_strokes(make_cube()).strokes.labels, expected)


def test_the_strokes_of_every_cube_are_saved_though_saving_is_slow(
    session, runner, autosave, make_cube, strokes
):
    first, second = make_cube(), make_cube(bands=5)
    for cube in (first, second):
        session.add_cube(cube)
        runner.go_all()
    session.select_cube(first)
    session.set_strokes(strokes)
    slow = runner.of(JobKind.AUTOSAVING)[-1]
    session.set_strokes(strokes * 2)
    session.remove_cube(first)
    session.set_strokes(strokes * 3)
    slow.go()
    runner.jobs.remove(slow)
    runner.go_all()

    np.testing.assert_array_equal(saved_strokes(first).strokes.labels, strokes * 2)
    np.testing.assert_array_equal(saved_strokes(second).strokes.labels, strokes * 3)


def test_closing_saves_what_is_not_saved_yet(session, autosave, make_cube, strokes):
    cube = make_cube()
    session.add_cube(cube)
    session.set_strokes(strokes)

    autosave.close()

    np.testing.assert_array_equal(saved_strokes(cube).strokes.labels, strokes)


def test_erased_strokes_stay_in_an_earlier_version(restored_window, make_cube, strokes):
    other, autosave = restored_window

    other.annotation.clear()
    other.jobs._runner.go_all()

    assert saved_strokes(make_cube()).n_pixels == 0
    autosave.restore(autosave.versions[0])
    other.jobs._runner.go_all()
    np.testing.assert_array_equal(other.strokes, strokes)


def test_strokes_of_two_windows_on_one_cube_are_merged(
    session, runner, autosave, make_cube, strokes, next_window
):
    other, other_autosave = next_window()
    for window in (session, other):
        window.add_cube(make_cube())
        window.jobs._runner.go_all()
    assert other_autosave.is_shared
    session.set_strokes(np.where(strokes == 1, strokes, 0))
    runner.go_all()
    other.set_strokes(np.where(strokes == 2, strokes, 0))
    other.jobs._runner.go_all()
    session.classes.rename(1, "lumen")
    runner.go_all()
    assert autosave.is_shared
    autosave.close()
    other_autosave.close()

    third, autosave = next_window()
    third.add_cube(make_cube())
    third.jobs._runner.go_all()

    np.testing.assert_array_equal(third.strokes, strokes)
    assert third.classes[1].name == "lumen"
    assert autosave.restored.n_windows == 2
    assert not autosave.is_shared


def test_only_discard_deletes_saved_strokes(restored_window, make_cube, strokes):
    other, autosave = restored_window

    autosave.discard()
    other.jobs._runner.go_all()

    assert not other.strokes.any()
    assert not autosave.versions
    other.annotation.undo()
    np.testing.assert_array_equal(other.strokes, strokes)


def test_a_folder_that_cannot_be_written_is_reported_once(
    session, runner, autosave, make_cube, strokes, carl_home
):
    (carl_home / "strokes").write_text("a file in the place of the folder")
    reported = []
    autosave.failed.connect(reported.append)
    session.add_cube(make_cube())
    runner.go_all()
    for value in (1, 2):
        session.set_strokes(strokes * value)
        runner.go_all()

    assert len(reported) == 1
    assert "strokes" in str(reported[0])


def test_opening_a_cube_changes_no_classes_of_another_one(
    session, runner, autosave, make_cube, strokes, next_window
):
    session.add_cube(make_cube())
    runner.go_all()
    session.classes.rename(1, "lumen")
    session.set_strokes(strokes)
    runner.go_all()
    autosave.close()

    other, _ = next_window()
    second = make_cube(bands=5)
    other.add_cube(second)
    other.jobs._runner.go_all()
    other.classes.rename(1, "leaf")
    other.set_strokes(strokes)
    other.add_cube(make_cube())
    other.jobs._runner.go_all()

    assert other.classes[1].name == "lumen"
    other.select_cube(second)
    other.jobs._runner.go_all()
    assert other.classes[1].name == "leaf"
    assert saved_strokes(second).strokes.classes[0].name == "leaf"
    assert saved_strokes(make_cube()).strokes.classes[0].name == "lumen"


def reopened(make_cube, next_window):
    """Return the session of another window with the same cube."""
    other, _ = next_window()
    other.add_cube(make_cube())
    other.jobs._runner.go_all()
    return other


def test_strokes_that_were_erased_do_not_come_back(
    session, runner, autosave, make_cube, strokes, next_window
):
    session.add_cube(make_cube())
    runner.go_all()
    session.set_strokes(strokes)
    runner.go_all()
    session.annotation.undo()
    runner.go_all()
    autosave.close()

    assert not reopened(make_cube, next_window).counts


def test_a_colour_and_a_class_without_strokes_are_restored(
    session, runner, autosave, make_cube, next_window
):
    session.add_cube(make_cube())
    runner.go_all()
    session.classes.recolour(1, (1, 2, 3))
    session.classes.add()
    runner.go_all()
    autosave.close()

    assert tuple(reopened(make_cube, next_window).classes) == tuple(session.classes)


def test_strokes_are_restored_and_saved_for_cubes_that_are_not_current(
    session, runner, autosave, make_cube, strokes, next_window
):
    first, second = make_cube(), make_cube(bands=5)
    session.add_cube(first)
    session.set_strokes(strokes)
    session.add_cube(second)  # before the search for saved strokes has ended
    runner.go_all()

    np.testing.assert_array_equal(saved_strokes(first).strokes.labels, strokes)


def test_closing_before_restoring_has_ended_keeps_the_saved_strokes(
    session, runner, autosave, make_cube, strokes, next_window
):
    session.add_cube(make_cube())
    runner.go_all()
    session.set_strokes(strokes)
    session.classes.rename(1, "lumen")
    runner.go_all()
    autosave.close()
    other, autosave = next_window()
    other.add_cube(make_cube())
    early = np.zeros_like(strokes)
    early[11] = 2
    other.set_strokes(early)

    autosave.close()  # nothing was restored yet

    saved = saved_strokes(make_cube()).strokes
    np.testing.assert_array_equal(saved.labels, np.where(early, early, strokes))
    assert saved.classes[0].name == "lumen"


def test_a_dock_that_is_opened_again_saves_no_version_of_what_is_saved(
    session, runner, autosave, make_cube, strokes, next_window
):
    cube = make_cube()
    session.add_cube(cube)
    runner.go_all()
    session.set_strokes(strokes)
    runner.go_all()
    autosave.close()
    before = saved_files(cube)

    other, _ = next_window()
    other.add_cube(cube, session.annotation)
    other.jobs._runner.go_all()

    assert saved_files(cube) == before
