"""Keys, keyboard focus and hints of the window, with events of mouse and keyboard."""

from __future__ import annotations

import numpy as np
import pytest
from napari.settings import get_settings
from napari.utils.action_manager import action_manager
from qtpy.QtCore import Qt
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QListView,
    QMainWindow,
    QPushButton,
    QSlider,
    QTableWidget,
)

from napari_carl.keys import HELP
from napari_carl.panels.annotate import AnnotatePanel, ClassRow

LEFT = Qt.MouseButton.LeftButton
MODES = ("erase", "paint", "polygon", "fill", "picker", "pan_zoom", "transform")


@pytest.fixture
def session(dock, no_network):
    return dock.session


@pytest.fixture
def canvas(dock, qtbot):
    """The canvas of the window, which is active, so that its widgets have the keyboard focus."""
    window = main_window(dock)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    return window.centralWidget().findChild(QOpenGLWidget)


@pytest.fixture
def panel(dock):
    return dock.findChild(AnnotatePanel)


@pytest.fixture
def strokes(viewer, session, small_cube, show, qtbot, canvas):
    show(small_cube[0])
    layer = viewer.layers["two tissues strokes"]
    qtbot.waitUntil(lambda: viewer.layers.selection.active is layer)
    return layer


def main_window(dock):
    """Return the main window. Not a fixture: a reference would keep a closed window alive."""
    window = dock.parentWidget()
    while not isinstance(window, QMainWindow):
        window = window.parentWidget()
    return window


def press(key):
    """Press a key as the keyboard does: the widget with the focus receives it."""
    QTest.keyClick(QApplication.focusWidget(), key)
    QApplication.processEvents()


def paint(canvas):
    """Paint a dot in the middle with a click, which moves the keyboard focus as a person's does."""
    QTest.mouseClick(canvas, LEFT, pos=canvas.rect().center())
    QApplication.processEvents()


def button(widget, text):
    return next(
        each
        for each in widget.findChildren(QAbstractButton)
        if each.text().startswith(text) and each.isVisibleTo(widget)
    )


def hint(panel):
    """Return the visible hint of the panel below its tools; empty if there is none."""
    tools = button(panel, "Brush").parentWidget()
    below = (
        each
        for each in panel.findChildren(QLabel)
        if each.isVisibleTo(panel) and each.wordWrap() and each.y() > tools.y()
    )
    return next((each.text() for each in below), "")


def tooltips(window):
    """Return the tooltips of napari's buttons for the tools of the selected layer."""
    return [
        each.toolTip()
        for each in window.findChildren(QAbstractButton)
        if type(each).__name__ == "QtModeRadioButton" and each.isVisible()
    ]


# ---- keyboard focus


def test_number_keys_work_after_any_control_and_a_stroke(session, dock, canvas, strokes):
    kinds = (QPushButton, QLineEdit, QComboBox, QSlider, QCheckBox, QAbstractSpinBox)
    layer_list = next(
        each
        for each in main_window(dock).findChildren(QListView)
        if type(each).__name__ == "QtLayerList"
    )
    controls = [
        each
        for kind in kinds
        for each in dock.findChildren(kind)
        if each.isVisible() and each.isEnabled() and each.focusPolicy() & Qt.FocusPolicy.ClickFocus
    ]
    assert {kind for kind in kinds for each in controls if isinstance(each, kind)} == set(kinds)
    for value, control in enumerate([*controls, layer_list]):
        control.setFocus()
        paint(canvas)
        wanted = 1 + value % 2
        press(str(wanted))
        assert session.classes.current == wanted, control
        assert strokes.mode == "paint"


def test_number_keys_work_after_a_control_without_a_click_on_the_canvas(
    session, dock, panel, strokes
):
    for control in (panel.findChild(QSlider), dock.findChild(QCheckBox), button(panel, "Undo")):
        control.setFocus()
        press("2")
        assert session.classes.current == 2
        session.classes.choose(1)


def test_tools_and_classes_give_the_focus_to_the_canvas(dock, panel, canvas, strokes):
    def clicked(widget):
        dock.findChild(QComboBox).setFocus()
        QTest.mouseClick(widget, LEFT)
        return QApplication.focusWidget() is canvas

    for text in ("Brush", "Eraser", "Fill", "Add class"):
        assert clicked(button(panel, text)), text
    assert clicked(panel.findChildren(ClassRow)[1])


def test_new_class_is_painted_at_once(session, panel, strokes):
    QTest.mouseClick(button(panel, "Add class"), LEFT)

    assert (session.classes.current, str(strokes.mode)) == (3, "paint")


# ---- rows of classes


def test_click_anywhere_in_a_row_chooses_its_class(session, panel, strokes):
    _, second = panel.findChildren(ClassRow)
    parts = [second.findChild(QLineEdit), *second.findChildren(QLabel)]
    assert len(parts) == 3  # name, key and count
    for part in (second, *parts):
        session.classes.choose(1)
        strokes.mode = "pan_zoom"
        QTest.mouseClick(part, LEFT)
        assert (session.classes.current, str(strokes.mode)) == (2, "paint"), part


def edit_name(row, text):
    """Double-click the name of a class and type another one."""
    name = row.findChild(QLineEdit)
    QTest.mouseClick(name, LEFT)
    QTest.mouseDClick(name, LEFT)
    assert QApplication.focusWidget() is name
    QTest.keyClicks(name, text)
    return name


def test_double_click_edits_the_name(session, panel, canvas, strokes):
    first, second = panel.findChildren(ClassRow)
    edit_name(second, "vessel 2")
    press(Qt.Key.Key_Return)
    assert session.classes[2].name == "vessel 2"
    assert QApplication.focusWidget() is canvas

    name = edit_name(first, "nerve")
    press(Qt.Key.Key_Escape)
    assert (session.classes[1].name, name.text()) == ("Class 1", "Class 1")
    assert QApplication.focusWidget() is canvas

    edit_name(first, " ")
    press(Qt.Key.Key_Return)
    assert name.text() == "Class 1"


def test_name_being_edited_collects_no_keys_while_painting(session, panel, canvas, strokes):
    name = edit_name(panel.findChildren(ClassRow)[1], "vessel")

    paint(canvas)
    for key in "1b2e":
        press(key)

    assert (session.classes[2].name, name.text()) == ("vessel", "vessel")
    assert (session.classes.current, str(strokes.mode)) == (2, "erase")


def test_tab_key_reaches_the_names(session, panel, strokes):
    first = panel.findChildren(ClassRow)[0]
    name = first.findChild(QLineEdit)

    name.setFocus(Qt.FocusReason.TabFocusReason)
    QTest.keyClicks(name, "fat")
    press(Qt.Key.Key_Return)

    assert session.classes[1].name == "fat"


# ---- hints of napari


def shortcuts_of(action):
    """Return the keys that napari's table of shortcuts shows for an action of labels."""
    from napari._qt.widgets.qt_keyboard_settings import ShortcutEditor

    editor = ShortcutEditor()
    editor.layer_combo_box.setCurrentText("Labels layer")
    table = editor.findChild(QTableWidget)
    (row,) = (i for i in range(table.rowCount()) if table.item(i, 4).text() == action)
    return [text for column in (2, 3) if (text := table.item(row, column).text())]


def test_tooltips_of_napari_name_only_keys_that_work(viewer, dock, strokes):
    found = tooltips(main_window(dock))
    assert len(found) == len(MODES)
    assert not [tip for tip in found if any(f"({n}" in tip for n in range(1, 10))]
    assert any(tip.startswith("Activate the paint brush (P)") for tip in found)

    press("p")
    assert strokes.mode == "paint"

    viewer.layers.selection.active = viewer.layers["two tissues"]
    QApplication.processEvents()
    assert [tip.split("\n")[0].strip() for tip in tooltips(main_window(dock))] == [
        "Move camera",
        "Transform",
    ]


def test_status_bar_names_the_keys_of_the_dock(viewer, strokes):
    assert viewer.help == HELP
    strokes.mode = "paint"
    assert viewer.help == HELP
    viewer.layers.selection.active = viewer.layers["two tissues colour"]
    assert viewer.help == HELP


def test_preferences_of_napari_list_no_key_of_the_dock(viewer, dock, strokes):
    assert shortcuts_of("napari:activate_labels_paint_mode") == ["P"]
    assert shortcuts_of("napari:toggle_preserve_labels") == []

    viewer.window.remove_dock_widget(dock.parent())
    assert shortcuts_of("napari:activate_labels_paint_mode") == ["2", "P"]
    assert shortcuts_of("napari:toggle_preserve_labels") == ["B"]


def test_shortcuts_edited_in_the_preferences_keep_the_keys_that_the_dock_has_taken(
    viewer, dock, strokes
):
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog
    from napari._qt.widgets.qt_keyboard_settings import ShortcutEditor

    stored = get_settings().shortcuts
    dialog = PreferencesDialog()
    editor = dialog.findChild(ShortcutEditor)
    editor.layer_combo_box.setCurrentText("Labels layer")
    table = editor.findChild(QTableWidget)
    (row,) = (i for i in range(table.rowCount()) if table.item(i, 4).text() == "napari:new_label")
    table.item(row, 2).setText("Q")

    assert [str(key) for key in stored.shortcuts["napari:new_label"]] == ["Q"]
    kept = stored.shortcuts["napari:activate_labels_paint_mode"]
    assert [str(key) for key in kept] == ["2", "P"]
    press("2")
    assert (dock.session.classes.current, str(strokes.mode)) == (2, "paint")

    dialog.reject()
    assert [str(key) for key in stored.shortcuts["napari:new_label"]] == ["M"]
    press("1")
    assert dock.session.classes.current == 1


def test_layers_that_napari_edits_keep_its_keys(viewer, session, dock, panel, strokes, canvas):
    points = viewer.add_points(np.zeros((1, 2)), name="cells")
    canvas.setFocus()
    press("2")
    assert str(points.mode) == "add"
    assert session.classes.current == 1
    assert any("(2 or P)" in tip for tip in tooltips(main_window(dock)))
    assert viewer.help != HELP
    keys = [row.findChildren(QLabel)[0].text() for row in panel.findChildren(ClassRow)]
    assert keys == ["", ""]
    assert button(panel, "Brush").text() == "Brush"

    viewer.layers.selection.active = strokes
    keys = [row.findChildren(QLabel)[0].text() for row in panel.findChildren(ClassRow)]
    assert keys == ["1", "2"]
    assert button(panel, "Brush").text() == "Brush (B)"


def test_closed_dock_leaves_the_keys_and_the_help_of_napari(viewer, dock, strokes, canvas):
    window = main_window(dock)
    viewer.window.remove_dock_widget(dock.parent())

    assert not viewer.keymap
    assert any("(2 or P)" in tip for tip in tooltips(window))
    assert "use <2> for activate the paint brush" in viewer.help
    canvas.setFocus()
    for key, mode in zip("1234567", MODES, strict=True):
        press(key)
        assert strokes.mode == mode.replace("picker", "pick")
    for name, keys in get_settings().shortcuts.shortcuts.items():
        unbound = action_manager.unbind_shortcut(name) or []
        for key in unbound:
            action_manager.bind_shortcut(name, key)
        assert [str(key) for key in unbound] == [str(key) for key in keys], name


# ---- what keeps a tool from painting


def test_selecting_another_layer_is_reported_until_a_tool_is_chosen(
    viewer, session, panel, strokes, canvas
):
    press("1")
    assert hint(panel) == ""

    viewer.layers.selection.active = viewer.layers["two tissues"]
    assert hint(panel) == "Layer 'two tissues' is selected. Press B to paint."
    viewer.layers["two tissues"].name = "renamed"
    assert hint(panel) == "Layer 'renamed' is selected. Press B to paint."
    paint(canvas)
    assert not strokes.data.any()

    press("b")
    assert hint(panel) == "Selected the layer 'two tissues strokes'."
    paint(canvas)
    assert strokes.data.any()

    viewer.layers.selection.active = strokes
    viewer.layers.selection.add(viewer.layers["renamed"])
    viewer.layers.selection.active = None
    assert hint(panel) == "Several layers are selected. Press B to paint."
    viewer.layers.selection.clear()
    assert hint(panel) == "No layer is selected. Press B to paint."

    viewer.add_points(np.zeros((1, 2)), name="cells")
    assert hint(panel) == "Layer 'cells' is selected."
    QTest.mouseClick(button(panel, "Paint"), LEFT)
    assert viewer.layers.selection.active is strokes
    assert strokes.mode == "paint"


def test_tool_shows_hidden_strokes(viewer, panel, strokes):
    press("1")
    strokes.visible = False
    assert strokes.mode == "pan_zoom"
    assert not button(panel, "Brush").isChecked()

    press("b")
    assert strokes.visible
    assert button(panel, "Brush").isChecked()


def test_choosing_a_tool_switches_from_3d_to_2d(viewer, panel, strokes, canvas):
    press("1")
    viewer.dims.ndisplay = 3
    assert hint(panel) == "3D view: strokes are painted in 2D. Press B to paint."

    QTest.mouseClick(button(panel, "Eraser"), LEFT)
    assert viewer.dims.ndisplay == 2
    assert hint(panel) == "Switched to the 2D view of the rows and columns."
    press("1")
    paint(canvas)
    assert strokes.data.any()


def test_choosing_a_tool_shows_rows_and_columns_again(viewer, panel, strokes, canvas):
    press("1")
    viewer.dims.roll()
    assert hint(panel) == (
        "Other axes are displayed: strokes are painted on rows and columns. Press B to paint."
    )

    press("b")
    paint(canvas)
    assert strokes.data.any()


def test_strokes_at_the_bottom_are_lifted_before_they_are_painted(viewer, panel, strokes, canvas):
    press("1")
    viewer.layers.move(viewer.layers.index(strokes), 0)
    assert viewer.layers[0] is strokes

    paint(canvas)
    assert viewer.layers[-1] is strokes
    assert strokes.data.any()
    assert viewer.layers.selection.active is strokes

    viewer.layers.move(viewer.layers.index(strokes), 0)
    press("2")
    assert viewer.layers[-1] is strokes
    assert hint(panel) == "Moved the strokes above the other layers."
