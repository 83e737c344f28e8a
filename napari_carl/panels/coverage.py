"""Bar of a cube's bands beside the wavelengths that a network or a loaded model was trained on."""

from __future__ import annotations

from qtpy.QtCore import QRectF
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from carl.wavelengths.coverage import Coverage
from napari_carl.connections import Connections
from napari_carl.panels.widgets import column, label, refresh_style
from napari_carl.session import Session

_HEIGHT = 16
_TRAINED, _INSIDE, _OUTSIDE = "#5f7f86", "#46c2a8", "#e0a040"
"""Colours of the range of the training, of bands inside it, and of extrapolated ones: legible on
the themes of napari."""


class CoverageBar(QWidget):
    """A painted bar: the range of the training below, a tick for each band of the cube above."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(_HEIGHT)
        self._coverage: Coverage | None = None

    def show_coverage(self, found: Coverage | None) -> None:
        """Show a comparison, or nothing."""
        self._coverage = found
        self.setToolTip("" if found is None else f"{found.sentence}\n{_LEGEND}")
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        """Draw range and ticks on a common axis."""
        found = self._coverage
        if found is None:
            return
        low = float(min(found.bands.min(), found.trained[0]))
        high = float(max(found.bands.max(), found.trained[-1]))
        scale = (self.width() - 2) / max(high - low, 1.0)

        def x(nm: float) -> float:
            return 1 + (nm - low) * scale

        painter = QPainter(self)
        first, last = x(float(found.trained[0])), x(float(found.trained[-1]))
        painter.fillRect(QRectF(first, _HEIGHT - 5, max(last - first, 1), 4), QColor(_TRAINED))
        for nm, is_inside in zip(found.bands, found.inside, strict=True):
            colour = QColor(_INSIDE if is_inside else _OUTSIDE)
            painter.fillRect(QRectF(x(float(nm)), 1, 1, _HEIGHT - 8), colour)
        painter.end()


_LEGEND = (
    "Ticks: bands of this cube, green inside and orange beyond the training. Line: its range.\n"
    "Extrapolated bands are used all the same; check the map there."
)


class CoveragePanel(QWidget):
    """The bar with a sentence; hidden while nothing is known about the training."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._bar = CoverageBar()
        self._text = label("", "muted", wrap=True)
        layout = column(self, spacing=2)
        layout.addWidget(self._bar)
        layout.addWidget(self._text)
        for signal in (session.cube_changed, session.features_changed, session.model_changed):
            connections.connect(signal, self._show)
        self._show()

    def _show(self) -> None:
        found = self._session.coverage
        self.setVisible(found is not None)
        self._bar.show_coverage(found)
        if found is not None:
            self._text.setText(found.sentence)
            refresh_style(self._text, "role", "muted" if found.inside.all() else "warning")
