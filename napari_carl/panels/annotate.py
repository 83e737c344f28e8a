"""Step 3: table of classes and tools for strokes."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QFocusEvent, QKeyEvent, QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLineEdit, QSlider, QWidget

from carl.errors import CarlError
from carl.io import LabelClass
from napari_carl.autosave import Autosave
from napari_carl.canvas_widget import focus_canvas
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.keys import N_CLASS_KEYS, TOOL_KEYS
from napari_carl.offers import Offers
from napari_carl.painting import Painting
from napari_carl.panels.offers import StrokesOffer
from napari_carl.panels.saved_strokes import SavedStrokesRow
from napari_carl.panels.widgets import (
    ColourButton,
    JobMessage,
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
    "paint": ("Brush", "Paint strokes of the current class"),
    "erase": ("Eraser", "Erase strokes"),
    "fill": ("Fill", "Fill a closed outline with the current class"),
}
_LARGEST_BRUSH = 60
"""Largest width of the brush, in pixels."""
_KEYS_THAT_END_EDITING = (Qt.Key.Key_Escape, Qt.Key.Key_Return, Qt.Key.Key_Enter)


class AnnotatePanel(QWidget):
    """Shows the classes and the tools that paint their strokes."""

    def __init__(
        self,
        session: Session,
        tools: StrokeTools,
        painting: Painting,
        autosave: Autosave,
        offers: Offers,
        connections: Connections,
    ) -> None:
        super().__init__()
        self._session = session
        self._stroke_tools = tools
        self._painting = painting
        self._rows: dict[int, ClassRow] = {}
        self._table = QWidget()
        self._table_layout = column(self._table, spacing=1)
        add = button("Add class", tip="Add a class and paint with it")
        add.clicked.connect(self._on_add)
        self._undo = button("Undo", tip="Undo the last stroke or edit of the classes (Ctrl+Z)")
        self._undo.clicked.connect(tools.undo)
        self._redo = button("Redo", tip="Redo what was undone last (Ctrl+Shift+Z)")
        self._redo.clicked.connect(tools.redo)
        self._tools = Segments(_TOOLS)
        self._tools.chosen.connect(self._use)
        self._brush = QSlider(Qt.Orientation.Horizontal)
        self._brush.setRange(1, _LARGEST_BRUSH)
        self._brush.setToolTip("Width of the brush and the eraser")
        self._brush.valueChanged.connect(tools.set_brush_size)
        self._brush_text = label()
        self._brush_text.setFixedWidth(38)
        self._brush_text.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._hint = label("", "muted", wrap=True)
        self._paint = button("Paint", "quiet", "Make the chosen tool paint again")
        self._paint.clicked.connect(lambda: self._use(tools.tool))
        layout = column(self, spacing=8)
        layout.addWidget(StrokesOffer(offers, connections))
        layout.addWidget(JobMessage(session.jobs, connections, JobKind.READING_LABELS))
        layout.addWidget(SavedStrokesRow(session, autosave, connections))
        layout.addWidget(self._table)
        layout.addLayout(row(add, QWidget(), self._undo, self._redo, stretch=1))
        layout.addWidget(self._tools)
        layout.addLayout(row(self._hint, self._paint, stretch=0))
        layout.addLayout(row(label("Size", "muted"), self._brush, self._brush_text, stretch=1))
        connections.connect(session.classes_changed, self._on_classes)
        connections.connect(session.class_chosen, self._mark_current)
        connections.connect(session.strokes_changed, self._show_counts)
        connections.connect(session.cube_changed, self._show_counts)
        connections.connect(tools.tool_changed, self._on_tool)
        connections.connect(painting.changed, self._on_painting)
        connections.connect(session.history_changed, self._on_history)
        self._on_history()
        self._on_classes()
        self._on_tool()
        self._on_painting()

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
        self._on_painting()

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
        self._use("paint")

    def _on_add(self) -> None:
        self._session.classes.add()
        self._use("paint")

    def _use(self, tool: Tool) -> None:
        self._painting.use(tool)
        focus_canvas(self)

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

    def _on_painting(self) -> None:
        """Show what keeps the tool from painting, else what was changed so that it paints."""
        obstacle, has_keys = self._painting.obstacle, self._painting.has_keys
        way_back = " Press B to paint." if has_keys else ""
        self._hint.setText(f"{obstacle}{way_back}" if obstacle else self._painting.notice)
        self._hint.setVisible(bool(self._hint.text()))
        self._paint.setVisible(bool(obstacle))
        for tool, (text, _) in _TOOLS.items():
            self._tools.set_text(tool, f"{text} ({TOOL_KEYS[tool]})" if has_keys else text)
        for class_row in self._rows.values():
            class_row.show_key(has_keys)


class ClassRow(QFrame):
    """One class: number key, colour, name and number of labelled pixels.

    A click anywhere chooses the class, a double click on its name edits the name.
    """

    chosen = Signal(int)
    renamed = Signal(int, str)
    recoloured = Signal(int, tuple)
    removed = Signal(int)

    def __init__(self, known: LabelClass) -> None:
        super().__init__()
        self.setProperty("role", "row")
        value = self._value = known.value
        self._key = label("", "key")
        self._key.setFixedSize(16, 16)
        self._key.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._colour = ColourButton(known.colour)
        self._colour.picked.connect(lambda colour: self.recoloured.emit(value, colour))
        self._name = ClassName()
        self._name.edited.connect(lambda name: self.renamed.emit(value, name))
        self._pixels = label("", "muted")
        remove = button("✕", "icon", "Remove this class and its strokes")
        remove.setFixedSize(20, 20)
        remove.clicked.connect(lambda: self.removed.emit(value))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 2, 2, 2)
        layout.setSpacing(6)
        for widget in (self._key, self._colour, self._name, self._pixels, remove):
            layout.addWidget(widget)
        layout.setStretch(2, 1)

    def show_class(self, known: LabelClass) -> None:
        """Show the name and the colour."""
        self._colour.set_colour(known.colour)
        self._name.show_name(known.name)

    def show_count(self, pixels: int) -> None:
        """Show the number of labelled pixels."""
        self._pixels.setText(f"{pixels:,} px" if pixels else "–")

    def show_key(self, has_keys: bool) -> None:
        """Show the number key of the class, if it has one and number keys choose classes."""
        has_key = has_keys and self._value <= N_CLASS_KEYS
        self._key.setText(str(self._value) if has_key else "")
        self._key.setToolTip(f"Press {self._value} to paint with this class" if has_key else "")
        press = f" or press {self._value}" if has_key else ""
        self.setToolTip(f"Click{press} to paint with this class, double-click its name to edit it")

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Choose the class."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self.chosen.emit(self._value)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Edit the name."""
        if event is not None and self._name.geometry().contains(event.pos()):
            self._name.edit()


class ClassName(QLineEdit):
    """Name of a class: a label, and a text field while it is edited.

    As a label it passes clicks on to its row and takes no focus by them, so that no key pressed
    while painting ends up in the name. The Tab key reaches it.
    """

    edited = Signal(str)  # the name typed by the user

    def __init__(self) -> None:
        super().__init__()
        self._shown = ""
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.editingFinished.connect(self._finish)
        self._set_editable(False)

    def show_name(self, name: str) -> None:
        """Show a name, unless another one is being typed."""
        self._shown = name
        if self.isReadOnly():
            self.setText(name)

    def edit(self) -> None:
        """Let the user edit the name."""
        self._set_editable(True)
        self.setFocus()
        self.selectAll()

    def focusInEvent(self, event: QFocusEvent | None) -> None:  # noqa: N802 - Qt's name
        """Edit the name when the Tab key has reached it."""
        super().focusInEvent(event)
        if self.isReadOnly():
            self.edit()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Place the cursor while the name is edited, pass the click to the row otherwise."""
        self._handle_click(event, super().mousePressEvent)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Select a word while the name is edited, pass the click to the row otherwise."""
        self._handle_click(event, super().mouseDoubleClickEvent)

    def _handle_click(
        self, event: QMouseEvent | None, handle: Callable[[QMouseEvent | None], None]
    ) -> None:
        if self.isReadOnly() and event is not None:
            event.ignore()
        else:
            handle(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Take the name with Return, keep the one before with Escape; both end the editing."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.setText(self._shown)
        else:
            super().keyPressEvent(event)
        if event is not None and event.key() in _KEYS_THAT_END_EDITING:
            focus_canvas(self)  # which emits `editingFinished`

    def _finish(self) -> None:
        if self.isReadOnly():
            return
        self._set_editable(False)
        if self.text() != self._shown:
            self.edited.emit(self.text())
        self.setText(self._shown)

    def _set_editable(self, editable: bool) -> None:
        self.setReadOnly(not editable)
        shape = Qt.CursorShape
        self.setCursor(shape.IBeamCursor if editable else shape.ArrowCursor)
        self.deselect()
