"""Export and saving of models in the dock: questions before files are replaced, lines that stay."""

from __future__ import annotations

import numpy as np
import pytest
import robot
from qtpy.QtWidgets import QCheckBox, QFileDialog

from carl.cube import SpectralCube
from carl.io import write_cube
from napari_carl.jobs import JobKind
from napari_carl.panels.export import ExistingFilesQuestion, ExportPanel
from napari_carl.panels.learn import LearnPanel
from napari_carl.panels.widgets import JobMessage, MessageLine


@pytest.fixture
def session(dock, no_network):
    return dock.session


@pytest.fixture
def panel(viewer, dock, session, small_cube, show, qtbot, tmp_path):
    """The panel of a cube with a map; files are written to the folder "out"."""
    show(small_cube[0])
    draw(viewer, session, "two tissues", qtbot)
    made = dock.findChild(ExportPanel)
    made.folder.line_edit.value = str(tmp_path / "out")
    for box in made.findChildren(QCheckBox)[1:]:
        box.setChecked(False)
    return made


def draw(viewer, session, name, qtbot, left=1, right=2):
    """Draw strokes of two classes and wait for the map."""
    strokes = viewer.layers[f"{name} strokes"]
    strokes.data[::6, 4:28] = left
    strokes.data[::6, 36:60] = right
    strokes.refresh()
    qtbot.waitUntil(lambda: session.segmentation is not None)
    qtbot.wait_for_jobs(session, JobKind.SEGMENTING)


def press(panel, text, session, qtbot):
    """Click a button and wait for the export it starts."""
    robot.click(panel, text)
    qtbot.wait_for_jobs(session, JobKind.EXPORTING)


def message_of(panel):
    return panel.findChild(JobMessage)


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_existing_files_are_replaced_only_when_the_user_agrees(
    viewer, panel, session, small_cube, qtbot, show, tmp_path
):
    question = panel.findChild(ExistingFilesQuestion)
    press(panel, "Export", session, qtbot)
    assert not question.isVisibleTo(panel)
    assert message_of(panel).text == f"Map of two tissues saved to {tmp_path / 'out'}: 3 files."
    first = files_in(tmp_path / "out")
    assert len(first) == 3

    # Another cube of the same name, with another map.
    cube = small_cube[0]
    turned = SpectralCube(np.asarray(cube.data)[:, ::-1], cube.wavelengths, name=cube.name)
    viewer.layers.clear()
    show(turned)
    assert message_of(panel).isVisibleTo(panel)
    draw(viewer, session, "two tissues", qtbot, left=2, right=1)
    press(panel, "Export", session, qtbot)
    assert question.isVisibleTo(panel)
    assert files_in(tmp_path / "out") == first
    assert not message_of(panel).isVisibleTo(panel)

    press(panel, "Cancel", session, qtbot)
    assert not question.isVisibleTo(panel)
    assert files_in(tmp_path / "out") == first

    press(panel, "Export", session, qtbot)
    press(panel, "Keep both", session, qtbot)
    assert not question.isVisibleTo(panel)
    both = files_in(tmp_path / "out")
    assert first.items() <= both.items()
    assert set(both) - set(first) == {name.replace("tissues", "tissues_2") for name in first}

    press(panel, "Export", session, qtbot)
    press(panel, "Overwrite", session, qtbot)
    replaced = files_in(tmp_path / "out")
    assert set(replaced) == set(both)
    assert replaced["two tissues_labels.tif"] != first["two tissues_labels.tif"]


def test_question_about_existing_files_ends_with_its_cube(
    viewer, panel, session, small_cube, qtbot, show
):
    for _ in range(2):
        press(panel, "Export", session, qtbot)
    question = panel.findChild(ExistingFilesQuestion)
    assert question.isVisibleTo(panel)
    show(SpectralCube(small_cube[0].data, small_cube[0].wavelengths, name="other"))
    assert not question.isVisibleTo(panel)


def test_export_of_a_folder_reports_cubes_that_failed_in_a_line_that_stays(
    panel, session, small_cube, qtbot, show, tmp_path, monkeypatch
):
    cubes = tmp_path / "cubes"
    for name in ("a", "b", "c"):
        write_cube(cubes / f"{name}.hdr", small_cube[0])
    for name in ("a", "c"):
        (cubes / f"{name}.dat").write_bytes(b"cut off")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(cubes))

    press(panel, "Export a folder …", session, qtbot)

    lines = message_of(panel).text.splitlines()
    assert lines[0] == f"1 of 3 cubes exported to {tmp_path / 'out'}: 3 files. Not exported:"
    assert [line.split()[:2] for line in lines[1:]] == [["•", "a.hdr"], ["•", "c.hdr"]]
    assert message_of(panel).role == "warning"
    show(SpectralCube(small_cube[0].data, small_cube[0].wavelengths, name="other"))
    assert message_of(panel).isVisibleTo(panel)


def test_saving_a_model_reports_where_in_a_line_that_stays(
    panel, dock, session, small_cube, qtbot, show, tmp_path, monkeypatch
):
    learn = dock.findChild(LearnPanel)
    asked = str(tmp_path / "tissue.v2")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (asked, ""))
    message = learn.findChildren(MessageLine)[-1]

    robot.click(learn, "Save …")
    qtbot.waitUntil(lambda: message.isVisibleTo(learn))
    path = tmp_path / "tissue.v2.carl"
    assert message.text == f"Model saved to {path}."
    show(SpectralCube(small_cube[0].data, small_cube[0].wavelengths, name="other"))
    assert message.isVisibleTo(learn)


def test_saving_replaces_only_the_model_that_the_dialog_asked_about(
    panel, dock, session, qtbot, tmp_path, monkeypatch
):
    learn = dock.findChild(LearnPanel)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "tissue"), ""))
    (tmp_path / "tissue.carl").write_text("an earlier model")
    message = learn.findChildren(MessageLine)[-1]

    robot.click(learn, "Save …")
    qtbot.wait_for_jobs(session, JobKind.SAVING)
    assert "tissue.carl exists" in message.text
    assert (tmp_path / "tissue.carl").read_text() == "an earlier model"

    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "tissue.carl"), "")
    )
    robot.click(learn, "Save …")
    qtbot.waitUntil(lambda: message.text.startswith("Model saved"))
    assert (tmp_path / "tissue.carl").read_bytes() != b"an earlier model"
