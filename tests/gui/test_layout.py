"""No widget of the dock is clipped at common window sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSlider,
)

from carl.cube import SpectralCube
from carl.io import DEFAULT_CONTENTS
from napari_carl.exports import Exported, ExportRequest
from napari_carl.panels.widgets import ColourButton, ElidedLabel

SIZES = [(1280, 800), (1920, 1080)]
KINDS = (QAbstractButton, QComboBox, QLabel, QLineEdit, QSlider)


def clipped(dock):
    """Return the widgets of the dock that are smaller than their content, or extend beyond it."""
    area = dock.findChild(QScrollArea)
    width = area.viewport().width()
    found = []
    for kind in KINDS:
        for widget in area.widget().findChildren(kind):
            if not widget.isVisible() or isinstance(widget, ElidedLabel | ColourButton):
                continue
            right = widget.mapTo(area.widget(), widget.rect().topRight()).x()
            needed = widget.minimumSizeHint()
            height = needed.height()
            if isinstance(widget, QLabel) and widget.wordWrap():
                height = widget.heightForWidth(widget.width())
            elif isinstance(widget, QLabel):
                needed = widget.sizeHint()
            fits = widget.width() >= needed.width() or widget.minimumWidth() == 1
            if right >= width or not fits or widget.height() < min(height, needed.height()):
                text = widget.text() if hasattr(widget, "text") else ""
                found.append((type(widget).__name__, text, widget.size(), needed))
    return found


def assert_nothing_is_clipped(dock, qtbot):
    def check():  # the last changes are laid out later
        assert clipped(dock) == []

    qtbot.waitUntil(check)


@pytest.mark.parametrize("size", SIZES)
def test_no_widget_is_clipped(viewer, dock, small_cube, qtbot, size, monkeypatch, show):
    viewer.window.resize(*size)
    assert_nothing_is_clipped(dock, qtbot)

    show(small_cube[0])
    assert_nothing_is_clipped(dock, qtbot)

    strokes = viewer.layers["two tissues strokes"]
    strokes.data[::6, 4:28] = 1
    strokes.data[::6, 36:60] = 2
    strokes.refresh()
    session = dock.session
    qtbot.waitUntil(lambda: session.segmentation is not None)
    for _ in range(7):
        session.classes.add()
    session.show_bands(7, 4, 0)
    folder = Path("/a/folder/with/a-rather-long-name/of_the_results_of_a_study")
    request = ExportRequest(folder, DEFAULT_CONTENTS)
    files = tuple(folder / f"two tissues_mask_Class_{i}.png" for i in range(9))
    session.exported_files = files
    session.exported.emit(Exported(request, files, ("two tissues",)))
    session.export_question = Exported(request, existing=files)
    session.export_question_changed.emit()
    assert_nothing_is_clipped(dock, qtbot)


@pytest.mark.parametrize("size", SIZES)
def test_dock_fits_its_width_and_leaves_room_for_the_canvas(
    viewer, dock, small_cube, qtbot, size, show
):
    viewer.window.resize(*size)
    show(small_cube[0])
    qtbot.deliver_events()
    area = dock.findChild(QScrollArea)

    assert area.widget().width() <= area.viewport().width()
    assert area.widget().minimumSizeHint().width() <= area.viewport().width()
    assert 320 <= dock.width() <= 420
    assert dock.window().width() == size[0]


def test_no_widget_of_the_wavelength_form_is_clipped(viewer, dock, small_cube, qtbot, show):
    show(SpectralCube(small_cube[0].data, name="a cube with quite a long name, no. 17"))
    assert_nothing_is_clipped(dock, qtbot)
