"""Step 1: which cube, what is known about it, and its wavelengths when it does not tell them."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFrame,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_carl import bands
from napari_carl.panels.parts import MetadataTable, button, column, label, row
from napari_carl.session import Session
from napari_carl.steps import describe_range, describe_size

_NAME_WIDTH = 66


class CubePanel(QWidget):
    """Chooses a cube, shows its facts, and asks for wavelengths where there are none."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._choice = QComboBox()
        self._choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choice.activated.connect(self._on_chosen)
        open_ = button("Open …", tip="Open a cube from a file")
        open_.clicked.connect(self._on_open)
        self._facts = MetadataTable("Size", "Wavelengths")
        self._bad = BadBands(session)
        self._change = button("Change …", "quiet", "Give the bands other wavelengths")
        self._change.clicked.connect(self._on_change)
        self._facts.add("Wavelengths", self._change)
        self._asking = WavelengthForm(session)
        layout = column(self, spacing=8)
        layout.addLayout(row(self._choice, open_, stretch=0))
        layout.addWidget(self._asking)
        layout.addWidget(self._facts)
        layout.addWidget(self._bad)
        session.cubes_changed.connect(self._list_cubes)
        session.cube_changed.connect(self._on_cube)
        self._list_cubes()
        self._on_cube()

    def _list_cubes(self) -> None:
        self._choice.clear()
        self._choice.addItems([cube.name for cube in self._session.cubes])
        self._choice.setEnabled(bool(self._session.cubes))
        if not self._session.cubes:
            self._choice.addItem("No cube")
        self._mark_current()

    def _mark_current(self) -> None:
        for index, cube in enumerate(self._session.cubes):
            if cube is self._session.cube:
                self._choice.setCurrentIndex(index)

    def _on_cube(self) -> None:
        cube = self._session.cube
        self._mark_current()
        self._asking.setVisible(cube is not None and cube.wavelengths is None)
        self._asking.offer_cameras()
        self._change.setVisible(cube is not None and cube.wavelengths is not None)
        self._facts.setVisible(cube is not None)
        self._bad.setVisible(cube is not None)
        self._describe()

    def _describe(self) -> None:
        cube = self._session.cube
        if cube is not None:
            self._choice.setToolTip(str(cube.metadata.get("path", "")))
            self._facts.set("Size", describe_size(cube))
            self._facts.set("Wavelengths", describe_range(cube))

    def _on_chosen(self, index: int) -> None:
        if index < len(self._session.cubes):
            self._session.select_cube(self._session.cubes[index])

    def _on_change(self) -> None:
        self._asking.setVisible(self._asking.isHidden())

    def _on_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a cube")
        if path:
            self._session.open_cube(Path(path))


class BadBands(QWidget):
    """Bands that are left out of everything, as text; Return or leaving the field takes them."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._text = QLineEdit()
        self._text.setPlaceholderText("none; as 720-760, 775")
        self._text.setToolTip(
            "Bands to leave out, in nm: ranges and single ones.\n"
            "A double click on the spectrum leaves out the band under it, or takes it back."
        )
        self._text.editingFinished.connect(self._on_edited)
        caption = label("Leave out", "muted")
        caption.setFixedWidth(MetadataTable.NAME_WIDTH)
        self.setLayout(row(caption, self._text, stretch=1))
        session.cube_changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        cube = self._session.cube
        self._text.setText("" if cube is None else bands.describe_bad_bands(cube))

    def _on_edited(self) -> None:
        cube, text = self._session.cube, self._text.text()
        if cube is not None and text.strip() != bands.describe_bad_bands(cube):
            self._session.edit_cube(lambda cube: bands.with_bad_bands(cube, text))
            self._show()


class WavelengthForm(QFrame):
    """Asks where the wavelengths of a cube are: a camera, a range or a file. Nothing is guessed."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setProperty("role", "box")
        self._session = session
        self._cameras = QComboBox()
        self._cameras.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._use_camera = button("Use")
        self._use_camera.clicked.connect(self._on_camera)
        self._range = QLineEdit()
        self._range.setPlaceholderText("380:770:10")
        self._range.setToolTip("first:last:step in nm")
        self._range.returnPressed.connect(self._on_range)
        use_range = button("Use")
        use_range.clicked.connect(self._on_range)
        choose = button("Choose a CSV …", tip="One wavelength per line, in nm")
        choose.clicked.connect(self._on_file)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(label("Where do the wavelengths come from?", "value"))
        for name, *widgets in (
            ("Camera", self._cameras, self._use_camera),
            ("Range", self._range, use_range),
            ("File", choose),
        ):
            caption = label(name, "muted")
            caption.setFixedWidth(_NAME_WIDTH)
            layout.addLayout(row(caption, *widgets, stretch=1))

    def offer_cameras(self) -> None:
        """Offer the cameras that have as many bands as the cube."""
        self._cameras.clear()
        fitting = bands.fitting_cameras(self._session.cube)
        for known in fitting:
            self._cameras.addItem(known.name, known.name)
            self._cameras.setItemData(self._cameras.count() - 1, known.description, 3)
        if not fitting:
            self._cameras.addItem("none that fits")
        self._cameras.setEnabled(bool(fitting))
        self._use_camera.setEnabled(bool(fitting))

    def _on_camera(self) -> None:
        name = self._cameras.currentText()
        self._session.edit_cube(lambda cube: bands.with_camera(cube, name))

    def _on_range(self) -> None:
        text = self._range.text()
        self._session.edit_cube(lambda cube: bands.with_range(cube, text))

    def _on_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Wavelengths, one per line", filter="Tables (*.csv *.txt *.tsv);;All files (*)"
        )
        if path:
            self._session.edit_cube(lambda cube: bands.with_table(cube, Path(path)))
