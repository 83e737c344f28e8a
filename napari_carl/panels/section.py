"""The frame of one step: its number, its name, a line about it, and a body that can be folded."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_carl.panels.parts import GAP, label, refresh_style, row

_MARGIN = 12


class Section(QWidget):
    """One step. A step that is not ready is folded and grey, and says what it lacks."""

    def __init__(self, number: int, title: str, body: QWidget) -> None:
        super().__init__()
        self._body = body
        self._is_ready: bool | None = None
        self._number = label(str(number), "number")
        self._number.setFixedSize(20, 20)
        self._number.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._line = label("", "muted", wrap=True)
        self._arrow = label("", "muted")
        self._title = label(title, "title")
        header = row(self._number, self._title, self._arrow, stretch=1)
        header.setSpacing(8)
        self._header = _Header()
        self._header.setLayout(header)
        self._header.clicked.connect(self._toggle)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(_MARGIN, 8, _MARGIN, 9)
        layout.setSpacing(GAP)
        layout.addWidget(self._header)
        layout.addWidget(self._line)
        layout.addWidget(body)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.set_state(False, "")

    @property
    def body(self) -> QWidget:
        """The panel inside."""
        return self._body

    def set_state(self, ready: bool, line: str) -> None:
        """Say how the step is; it unfolds when it becomes ready, and folds when it no longer is."""
        self._line.setText(line)
        self._line.setVisible(bool(line))
        if ready != self._is_ready:
            self._is_ready = ready
            refresh_style(self._number, "ready", ready)
            refresh_style(self._title, "ready", ready)
            self._body.setEnabled(ready)
            self._unfold(ready)

    def _toggle(self) -> None:
        if self._is_ready:
            self._unfold(self._body.isHidden())

    def _unfold(self, unfolded: bool) -> None:
        self._body.setVisible(unfolded)
        self._arrow.setText("▾" if unfolded else "▸")


class _Header(QWidget):
    """A row that can be clicked."""

    clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """A click anywhere in it counts."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self.clicked.emit()
