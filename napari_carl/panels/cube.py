"""Step 1: choice of the cube, its properties, its wavelengths and its bad bands."""

from __future__ import annotations

from pathlib import Path

from magicgui.widgets import ComboBox, FileEdit, LineEdit, PushButton
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QFrame, QLineEdit, QSizePolicy, QWidget

from carl.cube import SpectralCube
from carl.errors import WavelengthError
from carl.wavelengths import BandTable, example_text, unusual_wavelengths
from napari_carl import bands
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.offers import Offers
from napari_carl.panels.offers import CubeOffer
from napari_carl.panels.widgets import (
    JobMessage,
    MessageLine,
    PropertyTable,
    button,
    caption,
    column,
    form,
    label,
    row,
)
from napari_carl.session import Session
from napari_carl.steps import describe_range, describe_size


class CubePanel(QWidget):
    """Chooses a cube, shows its properties, and asks for wavelengths if they are unknown."""

    def __init__(self, session: Session, offers: Offers, connections: Connections) -> None:
        super().__init__()
        self._session = session
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
        layout.addWidget(self._wavelengths)
        layout.addWidget(self._properties)
        layout.addWidget(self._notes)
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
            self._session.open_cube(Path(path))


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


class WavelengthForm(QFrame):
    """A form that assigns wavelengths to the bands: from a camera, a typed range or a table.

    What was understood stands below the fields before it is applied.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setProperty("role", "box")
        self._session = session
        self._understood: BandTable | None = None
        self.camera = ComboBox(
            label="Camera", choices=[], tooltip="Cameras with as many bands as the cube"
        )
        self.range = LineEdit(
            label="Range",
            tooltip="The first and the last wavelength, first:last:step, or one number per band; "
            "in nm, or with another unit behind the numbers",
        )
        self.table = FileEdit(
            label="Table",
            filter="*.csv *.txt *.tsv",
            tooltip="A text file with one band per line; columns and unit may be named",
        )
        self.table.choose_btn.text = "…"
        self.source = ComboBox(
            label="Source",
            choices=["Camera", "Range", "Table"],
            tooltip="Where the wavelengths of the bands come from",
        )
        self.message = MessageLine()
        self._apply_button = PushButton(text="Apply")
        self._form = form(self.source, self.camera, self.range, self.table)
        self.source.changed.connect(self._show_source)
        self.camera.changed.connect(self._read)
        self.range.native.textChanged.connect(self._read)
        self.table.line_edit.native.textChanged.connect(self._read)
        self._apply_button.changed.connect(self._apply)
        self.range.native.returnPressed.connect(self._apply)
        self.table.line_edit.native.returnPressed.connect(self._apply)
        layout = column(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(label("Set the wavelengths of the bands"))
        layout.addWidget(self._form.native)
        layout.addWidget(self.message)
        layout.addWidget(self._apply_button.native)
        self._show_source()

    def show_cube(self) -> None:
        """Offer the cameras that have as many bands as the cube, and an example that fits it."""
        cube = self._session.cube
        cameras = bands.fitting_cameras(cube)
        self.camera.choices = [camera.name for camera in cameras]
        for index, camera in enumerate(cameras):
            self.camera.native.setItemData(index, camera.description, Qt.ItemDataRole.ToolTipRole)
        self.range.native.setPlaceholderText("" if cube is None else example_text(cube.n_bands))
        if cube is not None and not cameras and self.source.value == "Camera":
            self.source.value = "Range"
        self._read()

    def _show_source(self) -> None:
        for field in (self.camera, self.range, self.table):
            field.visible = field.label == self.source.value
        self._read()

    def _read(self) -> None:
        """Read the wavelengths in the visible field, and show what was understood."""
        session, cube, source = self._session, self._session.cube, self.source.value
        session.jobs.cancel(JobKind.READING_WAVELENGTHS)
        self._set_understood(None)
        text, path = self.range.value.strip(), self.table.line_edit.value.strip()
        try:
            if cube is None:
                return
            if source == "Camera" and self.camera.value is not None:
                self._set_understood(bands.bands_of_camera(self.camera.value))
            elif source == "Range" and text:
                self._set_understood(bands.bands_of_text(cube, text))
            elif source == "Table" and path:
                session.jobs.start(
                    JobKind.READING_WAVELENGTHS,
                    lambda _: _table_or_error(cube, Path(path).expanduser()),
                    self._on_table,
                )
        except WavelengthError as error:
            self.message.show_message(str(error))

    def _on_table(self, found: BandTable | WavelengthError) -> None:
        if isinstance(found, BandTable):
            self._set_understood(found)
        else:
            self.message.show_error(found)

    def _set_understood(self, found: BandTable | None) -> None:
        self._understood = found
        self._apply_button.enabled = found is not None
        if found is None:
            self.message.clear()
        elif warning := unusual_wavelengths(found.wavelengths):
            self.message.show_message(f"{found.describe()}. {warning}", "warning")
        else:
            self.message.show_message(found.describe())

    def _apply(self) -> None:
        found = self._understood
        if found is not None:
            self._session.edit_cube(lambda cube: bands.with_bands(cube, found))
        elif self.message.text:
            self.message.show_message(self.message.text, "error")


def _table_or_error(cube: SpectralCube, path: Path) -> BandTable | WavelengthError:
    """Read a table in a job: an error is shown beside its field, not reported as a failed job."""
    try:
        return bands.bands_of_table(cube, path)
    except WavelengthError as error:
        return error
