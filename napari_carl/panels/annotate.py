"""Step 3: table of classes and tools for strokes."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QSlider, QWidget

from carl.errors import CarlError
from carl.io import LabelClass
from napari_carl.autosave import Autosave
from napari_carl.connections import Connections
from napari_carl.keys import N_CLASS_KEYS
from napari_carl.panels.saved_strokes import SavedStrokesRow
from napari_carl.panels.widgets import (
    ColourButton,
    Segments,
    button,
    column,
    label,
    refresh_style,
    row,
)
from napari_carl.session import Session
from napari_carl.strokes import StrokeTools, Tool

_TOOLS: dict[Tool, tuple[str, str]] = {
    "paint": ("Brush (B)", "Paint strokes of the current class"),
    "erase": ("Eraser (E)", "Erase strokes"),
    "fill": ("Fill (F)", "Fill a closed outline with the current class"),
}
_LARGEST_BRUSH = 60
"""Largest width of the brush, in pixels."""


class AnnotatePanel(QWidget):
    """Shows the classes and the tools that paint their strokes."""

    def __init__(
        self, session: Session, tools: StrokeTools, autosave: Autosave, connections: Connections
    ) -> None:
        super().__init__()
        self._session = session
        self._stroke_tools = tools
        self._rows: dict[int, ClassRow] = {}
        self._table = QWidget()
        self._table_layout = column(self._table, spacing=1)
        add = button("Add class", tip="Add a class and paint with it")
        add.clicked.connect(lambda: session.classes.add())
        self._undo = button("Undo", tip="Undo the last stroke or edit of the classes (Ctrl+Z)")
        self._undo.clicked.connect(tools.undo)
        self._redo = button("Redo", tip="Redo what was undone last (Ctrl+Shift+Z)")
        self._redo.clicked.connect(tools.redo)
        self._tools = Segments(_TOOLS)
        self._tools.chosen.connect(tools.use)
        self._brush = QSlider(Qt.Orientation.Horizontal)
        self._brush.setRange(1, _LARGEST_BRUSH)
        self._brush.setToolTip("Width of the brush and the eraser")
        self._brush.valueChanged.connect(tools.set_brush_size)
        self._brush_text = label()
        self._brush_text.setFixedWidth(38)
        self._brush_text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout = column(self, spacing=8)
        layout.addWidget(SavedStrokesRow(session, autosave, connections))
        layout.addWidget(self._table)
        layout.addLayout(row(add, QWidget(), self._undo, self._redo, stretch=1))
        layout.addWidget(self._tools)
        layout.addLayout(row(label("Size", "muted"), self._brush, self._brush_text, stretch=1))
        connections.connect(session.classes_changed, self._on_classes)
        connections.connect(session.class_chosen, self._mark_current)
        connections.connect(session.strokes_changed, self._show_counts)
        connections.connect(session.cube_changed, self._show_counts)
        connections.connect(tools.tool_changed, self._on_tool)
        connections.connect(session.history_changed, self._on_history)
        self._on_history()
        self._on_classes()
        self._on_tool()

    def _on_classes(self) -> None:
        classes = list(self._session.classes)
        if [known.value for known in classes] != list(self._rows):
            for old in self._rows.values():
                old.setParent(None)
                old.deleteLater()
            self._rows = {known.value: self._add_row(known) for known in classes}
        for known in classes:
            self._rows[known.value].show_class(known)
        self._show_counts()
        self._mark_current()

    def _add_row(self, known: LabelClass) -> ClassRow:
        made = ClassRow(known)
        made.chosen.connect(self._on_chosen)
        made.renamed.connect(lambda *edit: self._session.classes.rename(*edit))
        made.recoloured.connect(lambda *edit: self._session.classes.recolour(*edit))
        made.removed.connect(self._on_removed)
        self._table_layout.addWidget(made)
        return made

    def _on_chosen(self, value: int) -> None:
        self._session.classes.choose(value)
        self._stroke_tools.use("paint")

    def _on_removed(self, value: int) -> None:
        try:
            self._session.annotation.remove_class(value)
        except CarlError as error:
            self._session.failed.emit(error)

    def _on_history(self) -> None:
        self._undo.setEnabled(self._session.annotation.can_undo)
        self._redo.setEnabled(self._session.annotation.can_redo)

    def _show_counts(self) -> None:
        for value, class_row in self._rows.items():
            class_row.show_count(self._session.counts.get(value, 0))

    def _mark_current(self) -> None:
        for value, class_row in self._rows.items():
            refresh_style(class_row, "current", value == self._session.classes.current)

    def _on_tool(self) -> None:
        self._tools.set_current(self._stroke_tools.tool)
        size = self._stroke_tools.brush_size
        with QSignalBlocker(self._brush):
            self._brush.setValue(size)
        self._brush_text.setText(f"{size} px")


class ClassRow(QFrame):
    """One class: number key, colour, name and number of labelled pixels."""

    chosen = Signal(int)
    renamed = Signal(int, str)
    recoloured = Signal(int, tuple)
    removed = Signal(int)

    def __init__(self, known: LabelClass) -> None:
        super().__init__()
        self.setProperty("role", "row")
        value = self._value = known.value
        has_key = value <= N_CLASS_KEYS
        key = label(str(value) if has_key else "", "key")
        key.setFixedSize(16, 16)
        key.setAlignment(Qt.AlignmentFlag.AlignCenter)
        key.setToolTip(f"Press {value} to paint with this class" if has_key else "")
        self._colour = ColourButton(known.colour)
        self._colour.picked.connect(lambda colour: self.recoloured.emit(value, colour))
        self._name = QLineEdit()
        self._name.editingFinished.connect(lambda: self.renamed.emit(value, self._name.text()))
        self._pixels = label("", "muted")
        remove = button("✕", "icon", "Remove this class and its strokes")
        remove.setFixedSize(20, 20)
        remove.clicked.connect(lambda: self.removed.emit(value))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 2, 2, 2)
        layout.setSpacing(6)
        for widget in (key, self._colour, self._name, self._pixels, remove):
            layout.addWidget(widget)
        layout.setStretch(2, 1)

    def show_class(self, known: LabelClass) -> None:
        """Show the name and the colour."""
        self._colour.set_colour(known.colour)
        if not self._name.hasFocus():
            self._name.setText(known.name)

    def show_count(self, pixels: int) -> None:
        """Show the number of labelled pixels."""
        self._pixels.setText(f"{pixels:,} px" if pixels else "–")

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Choose the class by a click beside its name."""
        self.chosen.emit(self._value)
