"""Messages stand beside the field they are about and stay; an error wipes no typed text."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QPointF, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit, QPushButton

from napari_carl import bands
from napari_carl.panels.cube import BadBands, CubePanel
from napari_carl.panels.explore import ExplorePanel
from napari_carl.panels.plots import SpectrumPlot
from napari_carl.panels.widgets import JobMessage, MessageLine


@pytest.fixture
def session(dock, no_network):
    return dock.session


def close(message):
    QTest.mouseClick(message.findChild(QPushButton), Qt.MouseButton.LeftButton)


def test_bad_bands_that_cannot_be_are_explained_beside_the_field_and_stay_typed(
    dock, session, small_cube, show, qtbot
):
    show(small_cube[0])
    form = dock.findChild(BadBands)
    field = form.findChild(QLineEdit)

    qtbot.keyClicks(field, "blue")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert field.text() == "blue"
    assert form.message.isVisibleTo(dock)
    assert "'blue' is not a band" in form.message.text
    assert session.cube.good_bands.all()
    assert form.message.findChildren(QTimer) == []  # nothing hides it after a time

    field.selectAll()
    qtbot.keyClicks(field, "480-510")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert session.cube.good_bands.tolist() == [True, False, False, *[True] * 5]
    assert not form.message.isVisibleTo(dock)


def test_a_file_that_cannot_be_opened_is_named_beside_the_button_until_that_is_read(
    dock, session, qtbot, tmp_path
):
    bad = tmp_path / "notes.tif"
    bad.write_text("not an image")
    message = dock.findChild(CubePanel).findChild(JobMessage)

    session.open_cube(bad)
    qtbot.waitUntil(lambda: message.isVisibleTo(dock))

    assert "notes.tif" in message.text
    assert message.role == "error"
    close(message)
    assert not message.isVisibleTo(dock)


def test_the_next_attempt_clears_the_error_of_the_one_before(dock, session, qtbot, tmp_path):
    message = dock.findChild(CubePanel).findChild(JobMessage)
    for name in ("first.tif", "second.tif"):
        (tmp_path / name).write_text("not an image")
        session.open_cube(tmp_path / name)
        assert not message.isVisibleTo(dock)
        qtbot.waitUntil(lambda: message.isVisibleTo(dock))
        assert name in message.text


def test_the_last_good_band_cannot_be_excluded_in_the_spectrum(dock, session, small_cube, show):
    show(small_cube[0])
    session.edit_cube(lambda cube: bands.with_bad_bands(cube, "480-660"))
    plot = dock.findChild(SpectrumPlot)
    message = dock.findChild(ExplorePanel).findChildren(MessageLine)[-1]
    left = plot.mapFromScene(plot.getViewBox().mapViewToScene(QPointF(450, 0.5)))

    QTest.mouseDClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=left)

    assert message.isVisibleTo(dock)
    assert "All bands" in message.text
    assert session.cube.good_bands.sum() == 1
