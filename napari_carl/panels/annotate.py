"""Step 3: the classes, and the tools to paint them with."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QSlider, QWidget

from carl.io import LabelClass
from napari_carl.autosave import Autosave
from napari_carl.canvas import N_KEYS
from napari_carl.panels.parts import (
    ElidedLabel,
    Segments,
    Swatch,
    button,
    column,
    label,
    refresh_style,
    row,
)
from napari_carl.session import Session
from napari_carl.strokes import StrokeTools, Tool

_TOOLS: dict[Tool, str] = {"paint": "Brush (B)", "erase": "Eraser (E)", "fill": "Fill (F)"}
_LARGEST_BRUSH = 60


class AnnotatePanel(QWidget):
    """The table of classes, and the tools."""

    def __init__(self, session: Session, tools: StrokeTools, autosave: Autosave) -> None:
        super().__init__()
        self._session = session
        self._autosave = autosave
        self._stroke_tools = tools
        self._rows: dict[int, ClassRow] = {}
        self._table = QWidget()
        self._table_layout = column(self._table, spacing=1)
        add = button("Add class", tip="Add a class and paint with it")
        add.clicked.connect(session.classes.add)
        undo = button("Undo", tip="Take the last stroke back (Ctrl+Z)")
        undo.clicked.connect(tools.undo)
        redo = button("Redo", tip="Do it again (Ctrl+Shift+Z)")
        redo.clicked.connect(tools.redo)
        self._tools = Segments(list(_TOOLS.values()))
        self._tools.chosen.connect(self._on_tool_chosen)
        self._brush = QSlider(Qt.Orientation.Horizontal)
        self._brush.setRange(1, _LARGEST_BRUSH)
        self._brush.valueChanged.connect(tools.set_brush_size)
        self._brush_text = label("", "value")
        self._brush_text.setFixedWidth(38)
        self._brush_text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._restored = ElidedLabel("muted")
        discard = button("Discard", "quiet", "Begin anew: take all strokes off this cube")
        discard.clicked.connect(self._on_discard)
        self._restored_row = QWidget()
        self._restored_row.setLayout(row(self._restored, discard, stretch=0))
        layout = column(self, spacing=8)
        layout.addWidget(self._restored_row)
        layout.addWidget(self._table)
        layout.addLayout(row(add, QWidget(), undo, redo, stretch=1))
        layout.addWidget(self._tools)
        layout.addLayout(row(label("Size", "muted"), self._brush, self._brush_text, stretch=1))
        session.classes.changed.connect(self._on_classes)
        session.classes.current_changed.connect(self._mark_current)
        session.strokes_changed.connect(self._count)
        tools.tool_changed.connect(self._on_tool)
        autosave.changed.connect(self._on_restored)
        self._on_restored()
        self._on_classes()
        self._on_tool()

    def _on_classes(self) -> None:
        classes = list(self._session.classes)
        if [known.value for known in classes] != list(self._rows):
            for old in self._rows.values():
                old.setParent(None)
                old.deleteLater()
            self._rows = {known.value: self._make_row(known) for known in classes}
        for known in classes:
            self._rows[known.value].show_class(known)
        self._count()
        self._mark_current()

    def _make_row(self, known: LabelClass) -> ClassRow:
        made = ClassRow(known)
        classes = self._session.classes
        made.chosen.connect(self._on_chosen)
        made.renamed.connect(classes.rename)
        made.recoloured.connect(classes.recolour)
        made.removed.connect(self._on_removed)
        self._table_layout.addWidget(made)
        return made

    def _on_chosen(self, value: int) -> None:
        self._session.classes.choose(value)
        self._stroke_tools.use("paint")

    def _on_removed(self, value: int) -> None:
        self._stroke_tools.erase_class(value)
        self._stroke_tools.report()
        self._session.classes.remove(value)

    def _on_restored(self) -> None:
        restored = self._autosave.restored
        self._restored_row.setVisible(restored is not None)
        if restored is not None:
            self._restored.set_text(f"Strokes of {restored.time:%d %b, %H:%M} are back.")

    def _on_discard(self) -> None:
        self._stroke_tools.clear()
        self._restored_row.hide()

    def _count(self) -> None:
        for value, class_row in self._rows.items():
            class_row.show_count(self._session.counts.get(value, 0))

    def _mark_current(self, value: int | None = None) -> None:
        for known, class_row in self._rows.items():
            refresh_style(class_row, "current", known == self._session.classes.current)

    def _on_tool_chosen(self, name: str) -> None:
        self._stroke_tools.use(next(tool for tool, text in _TOOLS.items() if text == name))

    def _on_tool(self) -> None:
        self._tools.set_current(_TOOLS.get(self._stroke_tools.tool, ""))
        size = self._stroke_tools.brush_size
        self._brush.blockSignals(True)
        self._brush.setValue(size)
        self._brush.blockSignals(False)
        self._brush_text.setText(f"{size} px")


class ClassRow(QFrame):
    """One class: its key, its colour, its name, and how much of it is painted."""

    chosen = Signal(int)
    renamed = Signal(int, str)
    recoloured = Signal(int, tuple)
    removed = Signal(int)

    def __init__(self, known: LabelClass) -> None:
        super().__init__()
        self.setProperty("role", "row")
        value = known.value
        key = label(str(value) if value <= N_KEYS else "", "key")
        key.setFixedSize(16, 16)
        key.setAlignment(Qt.AlignmentFlag.AlignCenter)
        key.setToolTip(f"Press {value} to paint with this class" if value <= N_KEYS else "")
        self._swatch = Swatch(known.colour)
        self._swatch.picked.connect(lambda colour: self.recoloured.emit(value, colour))
        self._name = QLineEdit()
        self._name.editingFinished.connect(lambda: self.renamed.emit(value, self._name.text()))
        self._pixels = label("", "muted")
        remove = button("✕", "icon", "Remove this class and its strokes")
        remove.setFixedSize(20, 20)
        remove.clicked.connect(lambda: self.removed.emit(value))
        self._value = value
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 2, 2, 2)
        layout.setSpacing(6)
        for widget in (key, self._swatch, self._name, self._pixels, remove):
            layout.addWidget(widget)
        layout.setStretch(2, 1)

    def show_class(self, known: LabelClass) -> None:
        """Show name and colour."""
        self._swatch.set_colour(known.colour)
        if not self._name.hasFocus():
            self._name.setText(known.name)

    def show_count(self, pixels: int) -> None:
        """Show how many pixels are painted."""
        self._pixels.setText(f"{pixels:,} px" if pixels else "–")

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """A click beside the name takes the class in hand."""
        self.chosen.emit(self._value)
