"""Wavelengths of the bands: a form that assigns them, and what an examination finds wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, FileEdit, LineEdit
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem, QWidget

from carl.cube import SpectralCube
from carl.errors import CarlError, WavelengthError
from carl.wavelengths import BandTable, example_text, unusual_wavelengths
from napari_carl import bands
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.panels.widgets import JobMessage, MessageLine, button, column, form, label, row
from napari_carl.session import Session

if TYPE_CHECKING:
    from carl.spectra.wavelength_doctor import Finding

_CENTRE, _WIDTH, _GOOD = range(3)
"""Columns of the table of bands."""
_TABLE_HEIGHT = 180


class WavelengthForm(QFrame):
    """A form that assigns wavelengths to the bands: from a camera, a text, a file, or band by band.

    What was understood stands below the fields before it is applied, and what was typed stays where
    it cannot be understood. Every change can be undone.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setProperty("role", "box")
        self._session = session
        self._understood: BandTable | None = None
        self._tabulated: SpectralCube | None = None
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
        self.other = ComboBox(
            label="Layer", choices=[], tooltip="Cubes in the viewer with as many bands"
        )
        self.source = ComboBox(
            label="Source",
            choices=["Camera", "Range", "Table", "Layer", "Bands"],
            tooltip="Where the wavelengths of the bands come from",
        )
        self.bands = QTableWidget(0, 3)
        self.bands.setHorizontalHeaderLabels(["nm", "FWHM", "good"])
        heading = self.bands.horizontalHeader()
        assert heading is not None
        heading.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.bands.setFixedHeight(_TABLE_HEIGHT)
        self.bands.setToolTip(
            "Wavelength and full width at half maximum of each band, in nm; double-click a number "
            "to change it"
        )
        self.message = MessageLine()
        self._apply_button = button("Apply")
        self._undo_button = button("Undo", tip="Undo the last change of the bands of this cube")
        self._form = form(self.source, self.camera, self.range, self.table, self.other)
        self.source.changed.connect(self._show_source)
        self.camera.changed.connect(self._read)
        self.other.changed.connect(self._read)
        self.range.native.textChanged.connect(self._read)
        self.table.line_edit.native.textChanged.connect(self._read)
        self.bands.itemChanged.connect(self._read)
        self._apply_button.clicked.connect(self._apply)
        self._undo_button.clicked.connect(session.undo_edit)
        self.range.native.returnPressed.connect(self._apply)
        self.table.line_edit.native.returnPressed.connect(self._apply)
        layout = column(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(label("Set the wavelengths of the bands"))
        layout.addWidget(self._form.native)
        layout.addWidget(self.bands)
        layout.addWidget(self.message)
        layout.addLayout(row(self._apply_button, self._undo_button, stretch=0))
        self._show_source()

    def show_cube(self) -> None:
        """Offer the cameras and cubes that have as many bands, and an example that fits."""
        cube = self._session.cube
        cameras = bands.fitting_cameras(cube)
        self.camera.choices = [camera.name for camera in cameras]
        for index, camera in enumerate(cameras):
            self.camera.native.setItemData(index, camera.description, Qt.ItemDataRole.ToolTipRole)
        others = bands.cubes_to_copy(cube, self._session.cubes)
        self.other.choices = [(other.name, index) for index, other in enumerate(others)]
        self.range.native.setPlaceholderText("" if cube is None else example_text(cube.n_bands))
        self._undo_button.setEnabled(self._session.can_undo_edit)
        if cube is not None and not cameras and self.source.value == "Camera":
            self.source.value = "Range"
        self._show_source()

    def _show_source(self) -> None:
        for field in (self.camera, self.range, self.table, self.other):
            field.visible = field.label == self.source.value
        self.bands.setVisible(self.source.value == "Bands")
        if self.source.value == "Bands" and self._tabulated is not self._session.cube:
            self._fill_bands()
        self._read()

    def _fill_bands(self) -> None:
        """Show the bands of the cube in the table."""
        cube = self._tabulated = self._session.cube
        self.bands.blockSignals(True)
        self.bands.setRowCount(0 if cube is None else cube.n_bands)
        for band in range(self.bands.rowCount() if cube is not None else 0):
            assert cube is not None
            for place, values in ((_CENTRE, cube.wavelengths), (_WIDTH, cube.fwhm)):
                text = "" if values is None else f"{values[band]:.6g}"
                self.bands.setItem(band, place, QTableWidgetItem(text))
            good = QTableWidgetItem()
            is_good = bool(cube.good_bands[band])
            good.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            good.setCheckState(Qt.CheckState.Checked if is_good else Qt.CheckState.Unchecked)
            self.bands.setItem(band, _GOOD, good)
        self.bands.blockSignals(False)

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
            elif source == "Layer" and self.other.value is not None:
                others = bands.cubes_to_copy(cube, session.cubes)
                self._set_understood(bands.bands_of_cube(cube, others[self.other.value]))
            elif source == "Bands":
                self._set_understood(bands.bands_of_cells(self._cells()))
            elif source == "Table" and path:
                session.jobs.start(
                    JobKind.READING_WAVELENGTHS,
                    lambda _: _table_or_error(cube, Path(path).expanduser()),
                    self._on_table,
                )
        except WavelengthError as error:
            self.message.show_message(str(error))

    def _cells(self) -> list[tuple[str, str]]:
        rows = range(self.bands.rowCount())
        return [(self._cell(band, _CENTRE), self._cell(band, _WIDTH)) for band in rows]

    def _cell(self, band: int, place: int) -> str:
        item = self.bands.item(band, place)
        return "" if item is None else item.text()

    def _good(self) -> list[bool]:
        items = [self.bands.item(band, _GOOD) for band in range(self.bands.rowCount())]
        return [item is None or item.checkState() == Qt.CheckState.Checked for item in items]

    def _on_table(self, found: BandTable | WavelengthError) -> None:
        if isinstance(found, BandTable):
            self._set_understood(found)
        else:
            self.message.show_error(found)

    def _set_understood(self, found: BandTable | None) -> None:
        self._understood = found
        self._apply_button.setEnabled(found is not None)
        if found is None:
            self.message.clear()
        elif warning := unusual_wavelengths(found.wavelengths):
            self.message.show_message(f"{found.describe()}. {warning}", "warning")
        else:
            self.message.show_message(found.describe())

    def _apply(self) -> None:
        found = self._understood
        good = self._good() if self.source.value == "Bands" else None
        if found is None:
            if self.message.text:
                self.message.show_message(self.message.text, "error")
            return
        try:
            self._session.edit_cube(lambda cube: bands.with_bands(cube, found, good))
        except WavelengthError as error:
            self.message.show_error(error)


def _table_or_error(cube: SpectralCube, path: Path) -> BandTable | WavelengthError:
    """Read a table in a job: an error is shown beside its field, not reported as a failed job."""
    try:
        return bands.bands_of_table(cube, path)
    except WavelengthError as error:
        return error


class WavelengthCheck(QWidget):
    """A button that examines the wavelengths, and the findings with a correction each."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._check = button(
            "Check wavelengths",
            tip="Look for a wrong unit or order, duplicates, overlapping detectors, and an axis "
            "that is shifted against known lines of oxygen, water, blood and plants",
        )
        self._check.clicked.connect(session.examine_wavelengths)
        self._message = MessageLine()
        self._rows = QWidget()
        column(self._rows, spacing=4)
        layout = column(self, spacing=4)
        layout.addWidget(self._check)
        layout.addWidget(JobMessage(session.jobs, connections, JobKind.EXAMINING))
        layout.addWidget(self._message)
        layout.addWidget(self._rows)
        connections.connect(session.findings_changed, self._show)
        self._show()

    def _show(self) -> None:
        findings = self._session.findings
        self._check.setVisible(self._session.cube is not None)
        rows = self._rows.layout()
        assert rows is not None
        while (item := rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        self._message.clear()
        if findings == ():
            self._message.show_message("Nothing is wrong with the wavelengths that could be seen.")
        for finding in findings or ():
            rows.addWidget(self._row(finding))
        self._rows.setVisible(bool(findings))

    def _row(self, finding: Finding) -> QFrame:
        made = QFrame()
        made.setProperty("role", "box")
        layout = column(made, spacing=4)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(label(finding.sentence, "warning", wrap=True))
        if finding.correct is not None:
            layout.addWidget(self._correction(finding))
        return made

    def _correction(self, finding: Finding) -> QPushButton:
        correct = finding.correct
        made = button(finding.action, tip="Correct this; Change … › Undo takes it back")
        assert correct is not None

        def apply() -> None:
            try:
                self._session.edit_cube(correct)
            except CarlError as error:
                self._message.show_error(error)

        made.clicked.connect(apply)
        return made
