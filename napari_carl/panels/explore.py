"""Step 2: display mode of the cube, and plots of spectra."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import QSlider, QWidget

from carl.arrays import Float64Array
from carl.errors import WavelengthError
from napari_carl import bands
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.panels.plots import SpectrumPlot
from napari_carl.panels.theme import Colours
from napari_carl.panels.widgets import (
    JobBar,
    JobMessage,
    MessageLine,
    Segments,
    column,
    label,
    row,
)
from napari_carl.pictures import DisplayMode
from napari_carl.session import Session
from napari_carl.steps import band_name

_MODES = {
    DisplayMode.TRUE_COLOUR: ("Colour", "True colour, or false colour beyond visible light"),
    DisplayMode.THREE_BANDS: ("3 bands", "Three bands as red, green and blue"),
    DisplayMode.SINGLE_BAND: ("1 band", "One band; the slider below the image does the same"),
    DisplayMode.EMBEDDING: (
        "PCA",
        "The first three principal components of the network's features as red, green and blue",
    ),
}
_JOBS = (JobKind.PICTURE, JobKind.CURSOR, JobKind.SPECTRA, JobKind.EMBEDDING)
"""Jobs whose errors are shown in this step."""
_SLIDER_DELAY_MS = 150
"""Delay between the last move of a colour slider and the new picture."""


class ExplorePanel(QWidget):
    """Chooses how the cube is displayed, and plots spectra."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._modes = Segments(_MODES)
        self._modes.chosen.connect(self._on_mode_chosen)
        self._composition = [BandSlider(name) for name in ("Red", "Green", "Blue")]
        self._single = BandSlider("Band")
        self._plot = SpectrumPlot()
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_SLIDER_DELAY_MS)
        self._delay.timeout.connect(self._on_composition)
        layout = column(self, spacing=8)
        layout.addWidget(self._modes)
        for slider in self._composition:
            slider.slider.valueChanged.connect(self._delay.start)
            layout.addWidget(slider)
        layout.addWidget(self._single)
        layout.addWidget(JobBar(session.jobs, JobKind.EMBEDDING, connections))
        layout.addWidget(JobMessage(session.jobs, connections, *_JOBS))
        layout.addWidget(self._plot)
        self._plot_message = MessageLine()
        layout.addWidget(self._plot_message)
        self._single.slider.valueChanged.connect(self._on_single)
        self._plot.band_picked.connect(self._on_band_picked)
        connections.connect(session.cube_changed, self._on_cube)
        connections.connect(session.display_mode_changed, self._on_display_mode)
        connections.connect(session.band_changed, self._single.set_band)
        connections.connect(session.features_changed, self._on_display_mode)
        connections.connect(session.cursor_changed, self._plot.show_cursor)
        connections.connect(session.spectra_changed, self._show_classes)
        connections.connect(session.classes_changed, self._show_classes)
        self._on_cube()

    def set_colours(self, colours: Colours) -> None:
        """Apply the colours of a theme to the plot."""
        self._plot.set_colours(colours)

    def _on_cube(self) -> None:
        cube = self._session.cube
        wavelengths = None if cube is None else cube.wavelengths
        n_bands = 0 if cube is None else cube.n_bands
        for slider in (*self._composition, self._single):
            slider.set_bands(wavelengths, n_bands)
        for slider, band in zip(self._composition, self._session.composition, strict=True):
            slider.set_band(band)
        self._single.set_band(self._session.band)
        self._plot.set_bands(wavelengths, n_bands)
        if cube is not None:
            self._plot.shade_bands(~cube.good_bands)
        self._on_display_mode()

    def _on_mode_chosen(self, mode: DisplayMode) -> None:
        session = self._session
        if mode is DisplayMode.TRUE_COLOUR:
            session.show_true_colour()
        elif mode is DisplayMode.THREE_BANDS:
            session.show_bands(*session.composition)
        elif mode is DisplayMode.SINGLE_BAND:
            session.show_band(session.band)
        else:
            session.show_embedding()

    def _on_display_mode(self) -> None:
        mode = self._session.display_mode
        self._modes.set_current(mode)
        has_features = self._session.embedding is not None
        self._modes.set_enabled(DisplayMode.EMBEDDING, has_features)
        for slider in self._composition:
            slider.setVisible(mode is DisplayMode.THREE_BANDS)
        self._single.setVisible(mode is DisplayMode.SINGLE_BAND)

    def _on_composition(self) -> None:
        if self._session.display_mode is DisplayMode.THREE_BANDS:
            self._session.show_bands(*(slider.band for slider in self._composition))

    def _on_single(self) -> None:
        if self._session.display_mode is DisplayMode.SINGLE_BAND:
            self._session.show_band(self._single.band)

    def _on_band_picked(self, band: int) -> None:
        try:
            self._session.edit_cube(lambda cube: bands.with_band_toggled(cube, band))
        except WavelengthError as error:
            self._plot_message.show_error(error)
        else:
            self._plot_message.clear()

    def _show_classes(self) -> None:
        spectra = self._session.spectra
        self._plot.show_classes(
            (known.colour, spectra[known.value].mean, spectra[known.value].deviation)
            for known in self._session.classes
            if known.value in spectra
        )


class BandSlider(QWidget):
    """A slider over the bands of a cube, ordered by wavelength."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._order = np.arange(0)
        self._names: list[str] = []
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.valueChanged.connect(self._show_name)
        title = label(name, "muted")
        title.setFixedWidth(38)
        self._value = label()
        self._value.setFixedWidth(62)
        self._value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.setLayout(row(title, self.slider, self._value, stretch=1))

    @property
    def band(self) -> int:
        """Index of the chosen band."""
        return int(self._order[self.slider.value()]) if self._order.size else 0

    def set_bands(self, wavelengths: Float64Array | None, n_bands: int) -> None:
        """Offer the bands of a cube, in the order of their wavelengths if these are known."""
        keys = np.arange(n_bands) if wavelengths is None else wavelengths
        self._order = np.argsort(keys, kind="stable")
        self._names = [band_name(wavelengths, band) for band in range(n_bands)]
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, max(n_bands - 1, 0))
        self._show_name()

    def set_band(self, band: int) -> None:
        """Move to a band without emitting a signal."""
        position = int(np.flatnonzero(self._order == band)[0]) if self._order.size else 0
        with QSignalBlocker(self.slider):
            self.slider.setValue(position)
        self._show_name()

    def _show_name(self) -> None:
        self._value.setText(self._names[self.band] if self._names else "")
