"""Strokes are saved under the pixels of their cube and restored with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carl.cube import SpectralCube
from carl.io import LabelClass
from carl.progress import no_progress
from napari_carl.autosave import Autosave, find_strokes, save_strokes, strokes_file
from napari_carl.jobs import JobKind


@pytest.fixture
def autosave(session):
    return Autosave(session)


def test_strokes_are_restored_with_their_cube_under_any_name(
    session, runner, autosave, make_cube, strokes, carl_home
):
    session.add_cube(make_cube())
    session.classes.rename(1, "lumen")
    session.set_strokes(strokes)
    runner.go_all()
    assert {path.parent for path in carl_home.rglob("*.tif")} == {carl_home / "strokes"}

    found = []
    autosave.found.connect(found.append)
    session.add_cube(make_cube("renamed"))
    runner.go_all()

    np.testing.assert_array_equal(found[0], strokes)
    assert session.classes[1].name == "lumen"
    assert autosave.restored.strokes.labels.shape == strokes.shape


def test_strokes_of_a_known_cube_are_restored_once(session, runner, autosave, make_cube, strokes):
    cube, other = make_cube(), make_cube(bands=5)
    session.add_cube(cube)
    session.set_strokes(strokes)
    runner.go_all()
    found = []
    autosave.found.connect(found.append)

    session.add_cube(other)
    runner.go_all()
    session.select_cube(cube)
    session.edit_cube(lambda cube: replace(cube, name="edited"))
    runner.go_all()

    assert found == []


def test_empty_strokes_delete_the_file(session, runner, autosave, make_cube, strokes, carl_home):
    session.add_cube(make_cube())
    session.set_strokes(strokes)
    runner.go_all()
    session.set_strokes(np.zeros_like(strokes))
    runner.go_all()

    assert [path for path in (carl_home / "strokes").iterdir()] == []


def test_closing_saves_what_is_not_saved_yet(session, autosave, make_cube, strokes):
    cube = make_cube()
    session.add_cube(cube)
    session.set_strokes(strokes)

    autosave.close()

    np.testing.assert_array_equal(find_strokes(cube, no_progress).strokes.labels, strokes)


def test_a_folder_that_cannot_be_written_is_reported_once(
    session, runner, autosave, make_cube, strokes, carl_home
):
    (carl_home / "strokes").write_text("a file in the place of the folder")
    reported = []
    session.failed.connect(reported.append)
    session.add_cube(make_cube())
    for value in (1, 2):
        session.set_strokes(strokes * value)
        runner.go(JobKind.AUTOSAVING)

    assert len(reported) == 1
    assert "strokes" in str(reported[0])


def test_strokes_that_cannot_be_read_are_ignored(make_cube, strokes):
    cube = make_cube()
    save_strokes(cube, strokes, [LabelClass(1, "lumen", (1, 2, 3))])
    strokes_file(cube).write_bytes(b"not an image")

    assert find_strokes(cube, no_progress) is None
    assert find_strokes(SpectralCube(cube.data + 1), no_progress) is None


def test_strokes_are_found_after_an_edit_of_the_wavelengths(make_cube, strokes):
    cube = make_cube()
    save_strokes(cube, strokes, [])

    edited = replace(cube, wavelengths=cube.wavelengths + 10, name="moved")
    assert find_strokes(edited, no_progress) is not None
