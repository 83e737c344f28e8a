"""Small widgets that several panels are made of."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QResizeEvent
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

from napari_carl.jobs import JobState

GAP = 6
"""Pixels between things that belong together."""

_SHORT_MS = 600


def label(text: str = "", role: str = "value", *, wrap: bool = False) -> QLabel:
    """A label in one of the roles of the style sheet."""
    made = QLabel(text)
    made.setProperty("role", role)
    made.setWordWrap(wrap)
    if wrap:
        made.setMinimumWidth(1)
    return made


def button(text: str, role: str = "", tip: str = "") -> QPushButton:
    """A push button in one of the roles of the style sheet."""
    made = QPushButton(text)
    made.setProperty("role", role)
    made.setToolTip(tip)
    return made


def row(*widgets: QWidget, stretch: int | None = None) -> QHBoxLayout:
    """Widgets side by side; the one at index `stretch` takes the room that is left."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(GAP)
    for index, widget in enumerate(widgets):
        layout.addWidget(widget, 1 if index == stretch else 0)
    return layout


def column(parent: QWidget, *, spacing: int = GAP) -> QVBoxLayout:
    """An empty column without margins as the layout of `parent`."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(spacing)
    return layout


def refresh_style(widget: QWidget, name: str, value: object) -> None:
    """Set a dynamic property and let the style sheet see it."""
    if widget.property(name) != value:
        widget.setProperty(name, value)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


class ElidedLabel(QLabel):
    """A line that is cut in the middle where it is too long; the tool tip has all of it."""

    def __init__(self, role: str = "value") -> None:
        super().__init__()
        self._full = ""
        self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_text(self, text: str, tip: str = "") -> None:
        """Show this text; the tool tip is the text itself if none is given."""
        self._full = text
        self.setToolTip(tip or text)
        self._elide()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - Qt's name
        """Cut anew."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        room = max(self.width() - 2, 0)
        self.setText(self.fontMetrics().elidedText(self._full, Qt.TextElideMode.ElideMiddle, room))


class LazyComboBox(QComboBox):
    """A list of choices that is asked for when it is about to be seen."""

    about_to_open = Signal()

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        """Ask for the choices, then open."""
        self.about_to_open.emit()
        super().showPopup()


class MetadataTable(QWidget):
    """A table of names and values, one line each."""

    NAME_WIDTH = 78

    def __init__(self, *names: str) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        self._values: dict[str, ElidedLabel] = {}
        for index, name in enumerate(names):
            caption = label(name, "muted")
            caption.setFixedWidth(self.NAME_WIDTH)
            self._values[name] = ElidedLabel()
            grid.addWidget(caption, index, 0)
            grid.addWidget(self._values[name], index, 1, 1, 2)
        self._grid = grid
        self._names = names

    def add(self, name: str, widget: QWidget) -> None:
        """Put a widget beside a value."""
        index = self._names.index(name)
        self._grid.addWidget(self._values[name], index, 1)
        self._grid.addWidget(widget, index, 2)

    def set(self, name: str, value: str, tip: str = "") -> None:
        """Give one of the names its value."""
        self._values[name].set_text(value, tip)


class Segments(QWidget):
    """Buttons of which one is down, side by side."""

    chosen = Signal(str)  # text of the one the user has pressed

    def __init__(self, names: Sequence[str], tips: Sequence[str] = ()) -> None:
        super().__init__()
        layout = row()
        layout.setSpacing(1)
        self.setLayout(layout)
        group = QButtonGroup(self)
        group.setExclusive(True)
        self._buttons: dict[str, QPushButton] = {}
        for index, name in enumerate(names):
            made = button(name, "segment", tips[index] if tips else "")
            made.setCheckable(True)
            made.setMinimumWidth(1)
            made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            group.addButton(made)
            layout.addWidget(made, 1)
            self._buttons[name] = made
        group.buttonClicked.connect(self._on_clicked)
        self._group = group

    def set_current(self, name: str) -> None:
        """Put the button of that name down, or none if there is no such button."""
        self._group.setExclusive(False)
        for known, made in self._buttons.items():
            made.setChecked(known == name)
        self._group.setExclusive(True)

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Let one of the buttons be pressed, or not."""
        self._buttons[name].setEnabled(enabled)

    def _on_clicked(self, pressed: QPushButton) -> None:
        self.chosen.emit(pressed.text())


class Swatch(QPushButton):
    """A colour; a click asks for another."""

    picked = Signal(tuple)  # red, green, blue in 0..255

    def __init__(self, colour: tuple[int, int, int]) -> None:
        super().__init__()
        self._colour = QColor(*colour)
        self.setFixedSize(18, 18)
        self.setToolTip("Choose another colour")
        self.clicked.connect(self._ask)

    def set_colour(self, colour: tuple[int, int, int]) -> None:
        """Show this colour."""
        self._colour = QColor(*colour)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """A filled square with round corners, whatever the style sheet says."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._colour)
        painter.drawRoundedRect(self.rect().adjusted(1, 1, -1, -1), 3, 3)
        painter.end()

    def _ask(self) -> None:
        colour = QColorDialog.getColor(self._colour, self, "Colour of the class")
        if colour.isValid():
            self.picked.emit((colour.red(), colour.green(), colour.blue()))


class JobBar(QWidget):
    """How far a task is, what it does, and a button that calls it off.

    Hidden when none runs, and for the first moment of one, so that short ones do not flicker.
    """

    cancelled = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(4)
        self._message = ElidedLabel("muted")
        cancel = button("Cancel", "quiet")
        cancel.clicked.connect(self.cancelled)
        layout = column(self, spacing=2)
        layout.addLayout(row(self._message, cancel, stretch=0))
        layout.addWidget(self._bar)
        self._moment = QTimer(self)
        self._moment.setSingleShot(True)
        self._moment.setInterval(_SHORT_MS)
        self._moment.timeout.connect(self.show)
        self.hide()

    def show_state(self, state: JobState | None) -> None:
        """Show where the task stands; None hides the bar."""
        if state is None:
            self._moment.stop()
            self.hide()
        else:
            if self.isHidden() and not self._moment.isActive():
                self._moment.start()
            self._bar.setValue(round(1000 * state.fraction))
            self._message.set_text(state.message)


def line() -> QFrame:
    """A thin line across."""
    made = QFrame()
    made.setProperty("role", "line")
    made.setFixedHeight(1)
    return made
