"""Widgets that several panels share: forms, sections, segmented buttons, job progress."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from magicgui.widgets import Container
from magicgui.widgets.bases import Widget
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QColorDialog,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_carl.connections import Connections
from napari_carl.jobs import JobKind, Jobs
from napari_carl.thread_runner import describe_error

GAP = 6
"""Distance between the widgets of a group, in pixels."""

CAPTION_WIDTH = 78
"""Width of the captions left of values and fields, in pixels: they form one column in the dock."""

_PROGRESS_DELAY_MS = 600
"""Delay before the progress of a job is shown, so that short jobs do not flicker."""

_SECTION_MARGIN = 12


def label(text: str = "", role: str = "value", *, wrap: bool = False) -> QLabel:
    """Return a label in one of the roles of the style sheet."""
    made = QLabel(text)
    made.setProperty("role", role)
    made.setWordWrap(wrap)
    if wrap:
        made.setMinimumWidth(1)
    return made


def caption(text: str) -> QLabel:
    """Return the caption of a value or a field."""
    made = label(text, "muted")
    made.setFixedWidth(CAPTION_WIDTH)
    return made


def button(text: str, role: str = "", tip: str = "") -> QPushButton:
    """Return a push button in one of the roles of the style sheet."""
    made = QPushButton(text)
    made.setProperty("role", role)
    made.setToolTip(tip)
    return made


def separator() -> QFrame:
    """Return a thin horizontal line."""
    made = QFrame()
    made.setProperty("role", "line")
    made.setFixedHeight(1)
    return made


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Return a layout of widgets side by side; the widget at index `stretch` takes spare room."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(GAP)
    for index, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if index == stretch else 0)
    return layout


def column(parent: QWidget, *, spacing: int = GAP) -> QVBoxLayout:
    """Return an empty vertical layout without margins, set on `parent`."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    return layout


def form(*widgets: Widget, layout: str = "vertical") -> Container[Widget]:
    """Return a magicgui container of settings in the style of the dock.

    Args:
        widgets: typed widgets with their labels; in a vertical form the labels stand on the left.
        layout: "vertical" or "horizontal", without labels.
    """
    made: Container[Widget] = Container(widgets=widgets, layout=layout, labels=layout == "vertical")
    made.margins = (0, 0, 0, 0)
    made.native.layout().setSpacing(GAP)
    made.native.layout().setAlignment(Qt.AlignmentFlag.AlignTop)
    for text in made.native.findChildren(QLabel):
        text.setProperty("role", "muted")
        text.setFixedWidth(CAPTION_WIDTH)
    for choices in made.native.findChildren(QComboBox):  # long choices must not widen the dock
        choices.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return made


def breakable(text: str) -> str:
    """Return a text whose paths and file names can be continued on the next line of a label."""
    return re.sub(r"(?<=[/\\_.-])(?=\w)", "\u200b", text)  # a space without width


def refresh_style(widget: QWidget, name: str, value: object) -> None:
    """Set a dynamic property and apply the rules of the style sheet that depend on it."""
    style = widget.style()
    if widget.property(name) != value and style is not None:
        widget.setProperty(name, value)
        style.unpolish(widget)
        style.polish(widget)


class ElidedLabel(QLabel):
    """A line of text, shortened in the middle where it is too long, with a complete tool tip."""

    def __init__(self, role: str = "value") -> None:
        super().__init__()
        self._full = ""
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_text(self, text: str) -> None:
        """Show a text."""
        self._full = text
        self.setToolTip(text)
        self._elide()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Shorten the text to the new width."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        room = max(self.width() - 2, 0)
        self.setText(self.fontMetrics().elidedText(self._full, Qt.TextElideMode.ElideMiddle, room))


class LazyComboBox(QComboBox):
    """A drop-down list whose choices are filled in just before it opens."""

    about_to_open = Signal()

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        """Request the choices, then open the list."""
        self.about_to_open.emit()
        super().showPopup()


class PropertyTable(QWidget):
    """A table of captions and values, one per line."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        grid = self._grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        self._values = {name: ElidedLabel() for name in names}
        for index, (name, value) in enumerate(self._values.items()):
            grid.addWidget(caption(name), index, 0)
            grid.addWidget(value, index, 1, 1, 2)

    def add_button(self, name: str, made: QPushButton) -> None:
        """Put a button beside the value of a name."""
        index = list(self._values).index(name)
        self._grid.addWidget(self._values[name], index, 1)
        self._grid.addWidget(made, index, 2)

    def set_value(self, name: str, value: str) -> None:
        """Show the value of a name."""
        self._values[name].set_text(value)


class Segments(QWidget):
    """Buttons side by side, of which one is pressed."""

    chosen = Signal(object)  # the choice whose button the user has pressed

    def __init__(self, choices: Mapping[Any, tuple[str, str]]) -> None:
        """Make a button for each choice, given with its text and its tool tip."""
        super().__init__()
        layout = row()
        layout.setSpacing(1)
        self.setLayout(layout)
        self._group = QButtonGroup(self)
        self._buttons: dict[Any, QPushButton] = {}
        for choice, (text, tip) in choices.items():
            made = button(text, "segment", tip)
            made.setCheckable(True)
            made.setMinimumWidth(1)
            made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            self._group.addButton(made)
            layout.addWidget(made, 1)
            self._buttons[choice] = made
        self._group.buttonClicked.connect(self._on_clicked)

    def set_current(self, choice: object) -> None:
        """Press the button of a choice, or release all if it has none."""
        self._group.setExclusive(False)
        for each, made in self._buttons.items():
            made.setChecked(each == choice)
        self._group.setExclusive(True)

    def set_text(self, choice: object, text: str) -> None:
        """Show another text on the button of a choice."""
        self._buttons[choice].setText(text)

    def set_enabled(self, choice: object, enabled: bool) -> None:
        """Enable or disable the button of a choice."""
        self._buttons[choice].setEnabled(enabled)

    def _on_clicked(self, pressed: QPushButton) -> None:
        self.chosen.emit(next(each for each, made in self._buttons.items() if made is pressed))


class ColourButton(QPushButton):
    """A coloured square that opens a colour dialog."""

    picked = Signal(tuple)  # red, green, blue in 0..255

    def __init__(self, colour: tuple[int, int, int]) -> None:
        super().__init__()
        self._colour = QColor(*colour)
        self.setFixedSize(18, 18)
        self.setToolTip("Choose another colour")
        self.clicked.connect(self._choose)

    def set_colour(self, colour: tuple[int, int, int]) -> None:
        """Show this colour."""
        self._colour = QColor(*colour)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw a filled square with round corners instead of the button of the style sheet."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour)
        painter.drawRoundedRect(self.rect().adjusted(1, 1, -1, -1), 3, 3)
        painter.end()

    def _choose(self) -> None:
        colour = QColorDialog.getColor(self._colour, self, "Colour of the class")
        if colour.isValid():
            self.picked.emit((colour.red(), colour.green(), colour.blue()))


class JobBar(QWidget):
    """Progress of the running job of one kind, with a button that cancels it; hidden otherwise."""

    def __init__(self, jobs: Jobs, kind: JobKind, connections: Connections) -> None:
        super().__init__()
        self._jobs = jobs
        self._kind = kind
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(4)
        self._message = ElidedLabel("muted")
        cancel = button("Cancel", "quiet")
        cancel.clicked.connect(lambda: jobs.cancel(kind))
        layout = column(self, spacing=2)
        layout.addLayout(row(self._message, cancel, stretch=0))
        layout.addWidget(self._bar)
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_PROGRESS_DELAY_MS)
        self._delay.timeout.connect(self.show)
        self.hide()
        connections.connect(jobs.changed, self._on_job)

    def _on_job(self, kind: str) -> None:
        if kind != self._kind:
            return
        state = self._jobs.state(self._kind)
        if state is None:
            self._delay.stop()
            self.hide()
        else:
            if self.isHidden() and not self._delay.isActive():
                self._delay.start()
            self._bar.setValue(round(1000 * state.fraction))
            self._message.set_text(state.message)


class MessageLine(QWidget):
    """A message below the field it is about; stays until the user closes it or it is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self._message = ""
        self._text = label(wrap=True)
        close = button("✕", "icon", "Close this message")
        close.setFixedSize(20, 20)
        close.clicked.connect(self.clear)
        layout = row(self._text, close, stretch=0)
        layout.setAlignment(close, Qt.AlignmentFlag.AlignTop)
        self.setLayout(layout)
        self.hide()

    @property
    def text(self) -> str:
        """The message; empty if there is none."""
        return self._message

    @property
    def role(self) -> str:
        """Role of the message in the style sheet."""
        return str(self._text.property("role"))

    def show_message(self, text: str, role: Literal["muted", "warning", "error"] = "muted") -> None:
        """Show a message in place of an earlier one; an empty text clears it."""
        refresh_style(self._text, "role", role)
        self._message = text
        self._text.setText(breakable(text))
        self.setVisible(bool(text))

    def show_error(self, error: BaseException) -> None:
        """Show an error in one sentence."""
        self.show_message(describe_error(error), "error")

    def clear(self) -> None:
        """Remove the message."""
        self.show_message("")


class JobMessage(MessageLine):
    """The error that ended the last job of some kinds; the next one of the same kind clears it."""

    def __init__(self, jobs: Jobs, connections: Connections, *kinds: JobKind) -> None:
        super().__init__()
        self._jobs = jobs
        self._kinds = kinds
        self._shown: JobKind | None = None
        connections.connect(jobs.failed, self._on_failed)
        connections.connect(jobs.changed, self._on_job)

    def _on_failed(self, kind: JobKind, error: BaseException) -> None:
        if kind in self._kinds:
            self._shown = kind
            self.show_error(error)

    def _on_job(self, kind: JobKind) -> None:
        if kind == self._shown and self._jobs.state(kind) is not None:
            self._shown = None
            self.clear()


class Section(QWidget):
    """The frame of one step: number, title, a line of status, and a panel that can be folded."""

    def __init__(self, number: int, title: str, body: QWidget) -> None:
        super().__init__()
        self.body = body
        self._is_ready: bool | None = None
        self._number = label(str(number), "number")
        self._number.setFixedSize(20, 20)
        self._number.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._title = label(title, "title")
        self._arrow = label("", "muted")
        self._status = label("", "muted", wrap=True)
        header_row = row(self._number, self._title, self._arrow, stretch=1)
        header_row.setSpacing(8)
        header = _ClickableRow()
        header.setLayout(header_row)
        header.clicked.connect(self._toggle)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(_SECTION_MARGIN, 8, _SECTION_MARGIN, 9)
        layout.setSpacing(GAP)
        layout.addWidget(header)
        layout.addWidget(self._status)
        layout.addWidget(body)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_state(False, "")

    def set_state(self, ready: bool, status: str) -> None:
        """Show the status of the step; unfold it when it becomes ready, fold it when it is not."""
        self._status.setText(status)
        self._status.setVisible(bool(status))
        if ready != self._is_ready:
            self._is_ready = ready
            refresh_style(self._number, "ready", ready)
            refresh_style(self._title, "ready", ready)
            self.body.setEnabled(ready)
            self._set_unfolded(ready)

    def _toggle(self) -> None:
        if self._is_ready:
            self._set_unfolded(self.body.isHidden())

    def _set_unfolded(self, unfolded: bool) -> None:
        self.body.setVisible(unfolded)
        self._arrow.setText("▾" if unfolded else "▸")


class _ClickableRow(QWidget):
    """A row of widgets that can be clicked."""

    clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Emit `clicked` when the left button is released inside the row."""
        if (
            event is not None
            and event.button() == Qt.MouseButton.LeftButton
            and self.rect().contains(event.pos())
        ):
            self.clicked.emit()
