"""Plots of spectra and of fine-tuning runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QMouseEvent
from qtpy.QtWidgets import QSizePolicy

from carl.arrays import Float32Array, Float64Array
from napari_carl.classes import Colour
from napari_carl.panels.theme import Colours


def _colour(css: str) -> QColor:
    """Return the colour of a CSS ``rgb(r, g, b)``."""
    return QColor(*(int(part) for part in css[4:-1].split(",")))


class _Plot(pg.PlotWidget):  # type: ignore[misc]  # pyqtgraph is not typed
    """A fixed view without grid, menu and buttons, in the colours of the theme."""

    def __init__(self, height: int, bottom: str) -> None:
        super().__init__(background=None)
        self._bottom = bottom
        self.setFixedHeight(height)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMenuEnabled(False)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.getPlotItem().setContentsMargins(0, 4, 6, 2)
        self.getAxis("left").setWidth(42)
        self.getAxis("bottom").setHeight(38)
        for side in ("left", "bottom"):
            self.getAxis(side).setStyle(tickLength=-4, tickTextOffset=4, maxTickLevel=1)

    def set_colours(self, colours: Colours) -> None:
        """Apply the colours of a theme to the background, axes and texts."""
        # Without a colour of its own, the plot keeps the background of the first theme.
        self.setBackground(_colour(colours.background))
        for side in ("left", "bottom"):
            axis = self.getAxis(side)
            axis.setPen(pg.mkPen(_colour(colours.line)))
            axis.setTextPen(pg.mkPen(_colour(colours.muted)))
        self.setLabel("bottom", self._bottom, color=_colour(colours.muted).name(), size="9pt")


class SpectrumPlot(_Plot):
    """The spectrum under the cursor over the mean ± standard deviation of each class.

    Bad bands are shaded.
    """

    band_picked = Signal(int)  # index of the band that was double-clicked

    def __init__(self) -> None:
        super().__init__(height=150, bottom="wavelength (nm)")
        self.setToolTip("Double-click to exclude a band, or to include it again")
        self._shades: list[pg.LinearRegionItem] = []
        self._shade = QColor()
        self._x: Float64Array = np.zeros(0)
        self._order = np.arange(0)
        self._classes: list[pg.GraphicsObject] = []
        self._cursor = self.plot([], [], antialias=True)
        self._cursor.setZValue(10)

    def set_colours(self, colours: Colours) -> None:
        """Apply the colours of a theme."""
        super().set_colours(colours)
        self._cursor.setPen(pg.mkPen(_colour(colours.text), width=1.5))
        self._shade = _colour(colours.line)
        for item in self._shades:
            item.setBrush(self._shade)

    def set_bands(self, wavelengths: Float64Array | None, n_bands: int) -> None:
        """Set the horizontal axis: wavelengths in nm, or band numbers if they are unknown."""
        known = wavelengths is not None
        x = wavelengths if wavelengths is not None else np.arange(1, n_bands + 1)
        self._order = np.argsort(x, kind="stable")
        self._x = np.asarray(x, float)[self._order]
        self._bottom = "wavelength (nm)" if known else "band"
        self.getAxis("bottom").setLabel(self._bottom)
        self._cursor.setData([], [])
        self.show_classes(())
        if n_bands:
            self.setXRange(self._x[0], self._x[-1], padding=0.01)

    def shade_bands(self, bad: NDArray[np.bool_]) -> None:
        """Shade the bad bands, a (C,) mask, each up to halfway to its neighbours."""
        for item in self._shades:
            self.removeItem(item)
        self._shades.clear()
        if not bad.any():
            return
        between = (self._x[:-1] + self._x[1:]) / 2
        edges = np.concatenate([self._x[:1], between, self._x[-1:]])
        changes = np.diff(np.concatenate([[False], bad[self._order], [False]]).astype(int))
        for first, stop in np.flatnonzero(changes).reshape(-1, 2):
            item = pg.LinearRegionItem(
                (edges[first], edges[stop]), movable=False, brush=self._shade, pen=pg.mkPen(None)
            )
            item.setZValue(-10)
            self._shades.append(item)
            self.addItem(item)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Emit the band nearest to a double click."""
        super().mouseDoubleClickEvent(event)
        if event is not None and self._x.size:
            x = self.getViewBox().mapSceneToView(self.mapToScene(event.pos())).x()
            self.band_picked.emit(int(self._order[np.abs(self._x - x).argmin()]))

    def show_cursor(self, spectrum: Float32Array) -> None:
        """Show the (C,) spectrum under the cursor."""
        self._cursor.setData(self._x, spectrum[self._order], connect="finite")

    def show_classes(self, spectra: Iterable[tuple[Colour, Float32Array, Float32Array]]) -> None:
        """Show the spectra of the classes, given as colour, (C,) mean and (C,) deviation."""
        for item in self._classes:
            self.removeItem(item)
        self._classes.clear()
        for colour, mean, deviation in spectra:
            mean, deviation = mean[self._order], deviation[self._order]
            low = pg.PlotCurveItem(self._x, mean - deviation, pen=None)
            high = pg.PlotCurveItem(self._x, mean + deviation, pen=None)
            band = pg.FillBetweenItem(low, high, brush=pg.mkBrush(*colour, 60))
            curve = pg.PlotCurveItem(
                self._x, mean, pen=pg.mkPen(*colour, width=2), antialias=True, connect="finite"
            )
            self._classes += [low, high, band, curve]
        for item in self._classes:
            self.addItem(item)


class CurvePlot(_Plot):
    """Training loss and held-out score of a fine-tuning run, by step."""

    def __init__(self) -> None:
        super().__init__(height=130, bottom="step")
        self._loss = self.plot([], [], antialias=True)
        self._score = self.plot([], [], antialias=True, symbolSize=5, symbolPen=None)

    def set_colours(self, colours: Colours) -> None:
        """Apply the colours of a theme."""
        super().set_colours(colours)
        self._loss.setPen(pg.mkPen(_colour(colours.muted), width=1.5))
        self._score.setPen(pg.mkPen(_colour(colours.accent), width=2))
        self._score.setSymbolBrush(_colour(colours.accent))

    def show_run(
        self, steps: Sequence[int], losses: Sequence[float], scores: Sequence[float | None]
    ) -> None:
        """Show the run so far.

        Args:
            steps: number of each step.
            losses: training loss at each step.
            scores: score on held-out strokes, None at steps without validation.
        """
        validated = [
            (step, score) for step, score in zip(steps, scores, strict=True) if score is not None
        ]
        self._loss.setData(list(steps), list(losses))
        self._score.setData([step for step, _ in validated], [score for _, score in validated])
