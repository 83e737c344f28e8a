"""Step 2: the cube in colour, band by band, through the network's eyes, and as spectra."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QSlider, QWidget

from napari_carl import bands
from napari_carl.display import DisplayMode
from napari_carl.jobs import JobKind
from napari_carl.panels.parts import JobBar, Segments, column, label, row
from napari_carl.panels.plots import SpectrumPlot
from napari_carl.panels.theme import Colours
from napari_carl.session import Session
from napari_carl.steps import band_name

_LABELS = {
    DisplayMode.TRUE_COLOUR: "Colour",
    DisplayMode.THREE_BANDS: "3 bands",
    DisplayMode.SINGLE_BAND: "1 band",
    DisplayMode.EMBEDDING: "PCA",
}
_TIPS = (
    "The cube as an eye would see it",
    "Three wavelengths as red, green and blue",
    "One wavelength; the slider below the picture does the same",
    "The three main components of the network's features as red, green and blue",
)
_PAUSE_MS = 150
_CURSOR_MS = 40


class ExplorePanel(QWidget):
    """Chooses what is shown of the cube, and plots spectra."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._views = Segments(list(_LABELS.values()), _TIPS)
        self._views.chosen.connect(self._on_view_chosen)
        self._composer = [BandSlider(name) for name in ("Red", "Green", "Blue")]
        self._single = BandSlider("Band")
        self._plot = SpectrumPlot()
        self._busy = JobBar()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._compose)
        layout = column(self, spacing=8)
        layout.addWidget(self._views)
        for slider in self._composer:
            slider.slider.valueChanged.connect(self._pause.start)
            layout.addWidget(slider)
        layout.addWidget(self._single)
        layout.addWidget(self._busy)
        layout.addWidget(self._plot)
        self._single.slider.valueChanged.connect(self._on_single)
        self._busy.cancelled.connect(lambda: session.jobs.cancel(JobKind.EMBEDDING))
        self._plot.band_picked.connect(
            lambda band: session.edit_cube(lambda cube: bands.with_band_toggled(cube, band))
        )
        session.cube_changed.connect(self._on_cube)
        session.display_mode_changed.connect(self._on_display_mode)
        session.band_changed.connect(self._on_band)
        session.network.changed.connect(self._on_display_mode)
        session.cursor_changed.connect(self._plot.show_cursor)
        session.spectra_changed.connect(self._show_classes)
        session.classes.changed.connect(self._show_classes)
        session.jobs.changed.connect(self._on_task)
        self._on_cube()

    def set_colours(self, colours: Colours) -> None:
        """Draw the plot in the colours of a theme."""
        self._plot.set_colours(colours)

    def _on_cube(self) -> None:
        cube = self._session.cube
        wavelengths = None if cube is None else cube.wavelengths
        n_bands = 0 if cube is None else cube.n_bands
        for slider in (*self._composer, self._single):
            slider.set_bands(wavelengths, n_bands)
        for slider, band in zip(self._composer, self._session.composition, strict=True):
            slider.set_band(band)
        self._single.set_band(self._session.band)
        self._plot.set_bands(wavelengths, n_bands)
        if cube is not None:
            self._plot.shade_bands(~cube.good_bands)
        self._on_display_mode()

    def _on_view_chosen(self, name: str) -> None:
        session = self._session
        view = next(view for view, text in _LABELS.items() if text == name)
        if view is DisplayMode.TRUE_COLOUR:
            session.show_true_colour()
        elif view is DisplayMode.THREE_BANDS:
            session.show_bands(*session.composition)
        elif view is DisplayMode.SINGLE_BAND:
            session.show_band(session.band)
        else:
            session.show_embedding()

    def _on_display_mode(self) -> None:
        view = self._session.display_mode
        self._views.set_current(_LABELS[view])
        self._views.set_enabled(
            _LABELS[DisplayMode.EMBEDDING], self._session.network.preview_features is not None
        )
        for slider in self._composer:
            slider.setVisible(view is DisplayMode.THREE_BANDS)
        self._single.setVisible(view is DisplayMode.SINGLE_BAND)

    def _compose(self) -> None:
        if self._session.display_mode is DisplayMode.THREE_BANDS:
            self._session.show_bands(*(slider.band for slider in self._composer))

    def _on_single(self) -> None:
        if self._session.display_mode is DisplayMode.SINGLE_BAND:
            self._session.show_band(self._single.band)

    def _on_band(self, band: int) -> None:
        self._single.set_band(band)

    def _show_classes(self) -> None:
        spectra = self._session.spectra
        self._plot.show_classes(
            (known.colour, spectra[known.value].mean, spectra[known.value].deviation)
            for known in self._session.classes
            if known.value in spectra
        )

    def _on_task(self, task: str) -> None:
        if task == JobKind.EMBEDDING:
            self._busy.show_state(self._session.jobs.state(JobKind.EMBEDDING))


class BandSlider(QWidget):
    """A slider over the bands of a cube in the order of their wavelengths."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._order = np.arange(0)
        self._names: list[str] = []
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.valueChanged.connect(self._write)
        caption = label(name, "muted")
        caption.setFixedWidth(38)
        self._value = label()
        self._value.setFixedWidth(62)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.setLayout(row(caption, self.slider, self._value, stretch=1))

    @property
    def band(self) -> int:
        """Index of the band chosen."""
        return int(self._order[self.slider.value()]) if self._order.size else 0

    def set_bands(self, wavelengths: np.ndarray | None, n_bands: int) -> None:
        """Offer these bands."""
        keys = np.arange(n_bands) if wavelengths is None else wavelengths
        self._order = np.argsort(keys, kind="stable")
        self._names = [band_name(wavelengths, band) for band in range(n_bands)]
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(n_bands - 1, 0))
        self.slider.blockSignals(False)
        self._write()

    def set_band(self, band: int) -> None:
        """Move to a band without telling anyone."""
        self.slider.blockSignals(True)
        self.slider.setValue(int(np.flatnonzero(self._order == band)[0]) if self._order.size else 0)
        self.slider.blockSignals(False)
        self._write()

    def _write(self) -> None:
        self._value.setText(self._names[self.band] if self._names else "")
