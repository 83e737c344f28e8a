"""Step 5: the map, its masks and its tables as files."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QWidget

from carl.io import CONTENTS, Content
from napari_carl.jobs import JobKind
from napari_carl.panels.parts import GAP, ElidedLabel, JobBar, button, column, label, row
from napari_carl.session import Session

_CONTENTS: dict[Content, tuple[str, str]] = {
    "label map": (
        "Label map",
        "TIFF, PNG in the colours of the classes, their names as JSON",
    ),
    "masks": ("Masks", "A black and white PNG of each class"),
    "table": ("Table", "Pixels, area and mean spectrum of each class, as CSV"),
    "pictures": ("Pictures", "The cube in colour, and the map over it, as PNG"),
}


class ExportPanel(QWidget):
    """Chooses what is written and where, of this cube or of all in a folder."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._folder = Path.home() / "carl"
        self._path = ElidedLabel()
        choose = button("Folder …", tip="Choose where the files go")
        choose.clicked.connect(self._on_choose)
        self._contents: dict[Content, QCheckBox] = {}
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(GAP)
        for index, (content, (name, tip)) in enumerate(_CONTENTS.items()):
            box = self._contents[content] = QCheckBox(name)
            box.setToolTip(tip)
            box.setChecked(content in CONTENTS)
            box.toggled.connect(self._refresh)
            grid.addWidget(box, *divmod(index, 2))
        self._export = button("Export", "primary", "Write the map of this cube")
        self._export.clicked.connect(self._on_export)
        self._many = button("Cubes in a folder …", tip="Map them all and write their maps")
        self._many.clicked.connect(self._on_many)
        self._open = button("Open folder", "quiet")
        self._open.clicked.connect(self._on_open)
        self._progress = JobBar()
        self._files = label("", "muted", wrap=True)
        caption = label("To", "muted")
        layout = column(self, spacing=8)
        layout.addLayout(row(caption, self._path, choose, stretch=1))
        layout.addLayout(grid)
        layout.addLayout(row(self._export, self._many, QWidget(), self._open, stretch=2))
        layout.addWidget(self._progress)
        layout.addWidget(self._files)
        self._progress.cancelled.connect(lambda: session.jobs.cancel(JobKind.EXPORTING))
        session.jobs.changed.connect(self._on_task)
        session.cube_changed.connect(self._show_files)
        session.exports.changed.connect(self._show_files)
        self.set_folder(self._folder)
        self._show_files()

    @property
    def contents(self) -> tuple[Content, ...]:
        """What is to be written."""
        return tuple(content for content, box in self._contents.items() if box.isChecked())

    def set_folder(self, folder: Path) -> None:
        """Write to this folder."""
        self._folder = folder
        self._path.set_text(str(folder))

    def _on_choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Where the files go", str(self._folder))
        if folder:
            self.set_folder(Path(folder))

    def _on_export(self) -> None:
        self._session.exports.write(self._folder, self.contents)

    def _on_many(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A folder with cubes")
        if folder:
            self._session.exports.write_folder(Path(folder), self._folder, self.contents)

    def _on_open(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._folder)))

    def _on_task(self, task: str) -> None:
        if task == JobKind.EXPORTING:
            self._progress.show_state(self._session.jobs.state(JobKind.EXPORTING))
            self._refresh()

    def _refresh(self) -> None:
        can_begin = self._session.jobs.state(JobKind.EXPORTING) is None and bool(self.contents)
        self._export.setEnabled(can_begin)
        self._many.setEnabled(can_begin)

    def _show_files(self) -> None:
        files = self._session.exports.files
        self._files.setText("\n".join(path.name for path in files))
        self._files.setVisible(bool(files))
        if files:
            self.set_folder(files[0].parent)
        self._open.setVisible(bool(files))
