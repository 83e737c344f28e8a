"""Step 1: choice of the cube, its properties, its wavelengths and its bad bands."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QSizePolicy, QWidget

from carl.cube import SpectralCube
from carl.errors import WavelengthError
from napari_carl import bands
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.offers import Offers
from napari_carl.opening import Opening
from napari_carl.panels.coverage import CoveragePanel
from napari_carl.panels.offers import CubeOffer
from napari_carl.panels.opening import Assumptions, ChoiceForm, FileOffer
from napari_carl.panels.wavelengths import WavelengthCheck, WavelengthForm
from napari_carl.panels.widgets import (
    JobMessage,
    MessageLine,
    PropertyTable,
    button,
    caption,
    column,
    row,
)
from napari_carl.session import Session
from napari_carl.steps import describe_range, describe_size


class CubePanel(QWidget):
    """Chooses a cube, shows its properties, and asks for wavelengths if they are unknown."""

    def __init__(
        self, session: Session, opening: Opening, offers: Offers, connections: Connections
    ) -> None:
        super().__init__()
        self._session = session
        self._opening = opening
        self._choice = QComboBox()
        self._choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choice.activated.connect(self._on_chosen)
        open_ = button("Open …", tip="Open a cube from a file")
        open_.clicked.connect(self._on_open)
        self._properties = PropertyTable("Size", "Wavelengths")
        self._notes = MessageLine()
        self._noted: tuple[str, ...] = ()
        self._bad_bands = BadBands(session, connections)
        self._wavelengths = WavelengthForm(session)
        self._change = button("Change …", "quiet", "Assign other wavelengths to the bands")
        self._change.clicked.connect(
            lambda: self._wavelengths.setVisible(self._wavelengths.isHidden())
        )
        self._properties.add_button("Wavelengths", self._change)
        layout = column(self, spacing=8)
        layout.addWidget(CubeOffer(offers, connections))
        layout.addLayout(row(self._choice, open_, stretch=0))
        layout.addWidget(JobMessage(session.jobs, connections, JobKind.OPENING))
        layout.addWidget(ChoiceForm(opening, connections))
        layout.addWidget(self._wavelengths)
        layout.addWidget(self._properties)
        layout.addWidget(self._notes)
        layout.addWidget(FileOffer(opening, session, connections))
        layout.addWidget(Assumptions(session, connections))
        layout.addWidget(CoveragePanel(session, connections))
        layout.addWidget(WavelengthCheck(session, connections))
        layout.addWidget(self._bad_bands)
        connections.connect(session.cubes_changed, self._list_cubes)
        connections.connect(session.cube_changed, self._on_cube)
        self._list_cubes()
        self._on_cube()

    def _list_cubes(self) -> None:
        cubes = self._session.cubes
        self._choice.clear()
        self._choice.addItems([cube.name for cube in cubes] or ["No cube"])
        self._choice.setEnabled(bool(cubes))
        self._mark_current()

    def _mark_current(self) -> None:
        for index, cube in enumerate(self._session.cubes):
            if cube is self._session.cube:
                self._choice.setCurrentIndex(index)

    def _on_cube(self) -> None:
        cube = self._session.cube
        self._mark_current()
        self._wavelengths.setVisible(cube is not None and cube.wavelengths is None)
        self._wavelengths.show_cube()
        self._change.setVisible(cube is not None and cube.wavelengths is not None)
        self._properties.setVisible(cube is not None)
        self._bad_bands.setVisible(cube is not None)
        if cube is not None:
            self._choice.setToolTip(str(cube.metadata.get("path", "")))
            self._properties.set_value("Size", describe_size(cube))
            self._properties.set_value("Wavelengths", describe_range(cube))
        self._show_notes(cube)

    def _show_notes(self, cube: SpectralCube | None) -> None:
        """Show the notes of the reader; those that the user has closed do not come back."""
        notes = () if cube is None else (cube.name, *cube.metadata.get("notes", ()))
        if notes != self._noted:
            self._noted = notes
            self._notes.show_message("\n".join(notes[1:]), "warning")

    def _on_chosen(self, index: int) -> None:
        if index < len(self._session.cubes):
            self._session.select_cube(self._session.cubes[index])

    def _on_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a cube")
        if path:
            self._opening.open(Path(path))


class BadBands(QWidget):
    """A field with the bands that are excluded from all computations."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._text = QLineEdit()
        self._text.setPlaceholderText("none; for example 720-760, 775")
        self._text.setToolTip(
            "Bands to exclude: ranges and single bands in nm, or band numbers if the wavelengths "
            "are unknown.\nDouble-click the spectrum to exclude a band, or to include it again."
        )
        self._text.editingFinished.connect(self._on_edited)
        self.message = MessageLine()
        layout = column(self, spacing=4)
        layout.addLayout(row(caption("Bad bands"), self._text, stretch=1))
        layout.addWidget(self.message)
        connections.connect(session.cube_changed, self._show)
        self._show()

    def _show(self) -> None:
        cube = self._session.cube
        self._text.setText("" if cube is None else bands.describe_bad_bands(cube))
        self.message.clear()

    def _on_edited(self) -> None:
        cube, text = self._session.cube, self._text.text()
        if cube is None:
            return
        if text.strip() == bands.describe_bad_bands(cube):
            self.message.clear()
            return
        try:
            self._session.edit_cube(lambda cube: bands.with_bad_bands(cube, text))
        except WavelengthError as error:
            self.message.show_error(error)
        else:
            self._show()
