"""Step 5: the map, its masks and its tables as files."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_carl.panels.parts import ElidedLabel, TaskBar, button, column, label, row
from napari_carl.session import Session
from napari_carl.tasks import Task

_CONTENTS = (
    "Label map (TIFF, PNG), a mask and a name for each class (PNG, JSON), pixels, area and mean "
    "spectrum of each (CSV)."
)


class ExportPanel(QWidget):
    """Chooses a folder and writes the results there."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._folder = Path.home() / "carl"
        self._path = ElidedLabel()
        choose = button("Folder …", tip="Choose where the files go")
        choose.clicked.connect(self._on_choose)
        self._export = button("Export", "primary")
        self._export.clicked.connect(self._on_export)
        self._open = button("Open folder", "quiet")
        self._open.clicked.connect(self._on_open)
        self._progress = TaskBar()
        self._files = label("", "muted", wrap=True)
        layout = column(self, spacing=8)
        layout.addLayout(row(self._path, choose, stretch=0))
        layout.addWidget(label(_CONTENTS, "muted", wrap=True))
        layout.addLayout(row(self._export, QWidget(), self._open, stretch=1))
        layout.addWidget(self._progress)
        layout.addWidget(self._files)
        self._progress.cancelled.connect(lambda: session.tasks.cancel(Task.EXPORTING))
        session.tasks.changed.connect(self._on_task)
        session.cube_changed.connect(self._show_files)
        session.exports.changed.connect(self._show_files)
        self.set_folder(self._folder)
        self._show_files()

    def set_folder(self, folder: Path) -> None:
        """Write to this folder."""
        self._folder = folder
        self._path.set_text(str(folder))

    def _on_choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Where the files go", str(self._folder))
        if folder:
            self.set_folder(Path(folder))

    def _on_export(self) -> None:
        self._session.exports.write(self._folder)

    def _on_open(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._folder)))

    def _on_task(self, task: str) -> None:
        if task == Task.EXPORTING:
            state = self._session.tasks.state(Task.EXPORTING)
            self._export.setEnabled(state is None)
            self._progress.show_state(state)

    def _show_files(self) -> None:
        files = self._session.exports.files
        self._files.setText("\n".join(path.name for path in files))
        self._files.setVisible(bool(files))
        if files:
            self.set_folder(files[0].parent)
        self._open.setVisible(bool(files))
