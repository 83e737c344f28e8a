"""Step 5: export of the map, its masks and its tables to files."""

from __future__ import annotations

from pathlib import Path

from magicgui.types import FileDialogMode
from magicgui.widgets import CheckBox, Container, FileEdit
from magicgui.widgets.bases import Widget
from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QWidget

from carl.io import DEFAULT_CONTENTS, ExportContent, missing_extra
from napari_carl.connections import Connections
from napari_carl.exports import Exported
from napari_carl.jobs import JobKind
from napari_carl.panels.widgets import (
    JobBar,
    JobMessage,
    breakable,
    button,
    column,
    form,
    label,
    row,
)
from napari_carl.session import Session
from napari_carl.steps import describe_existing, describe_export
from napari_carl.thread_runner import describe_error

_CONTENTS: dict[ExportContent, tuple[str, str]] = {
    "label map": ("Label map", "TIFF, PNG in the colours of the classes, and class names as JSON"),
    "masks": ("Masks", "A black and white PNG of each class"),
    "table": ("Table", "Pixels, area and mean spectrum of each class, as CSV"),
    "regions": ("Regions", "Size and position of each connected region, as CSV"),
    "pictures": ("Pictures", "The cube in colour, and with the map over it, as PNG"),
}
_MORE_CONTENTS: dict[ExportContent, tuple[str, str]] = {
    "geojson": ("GeoJSON", "Polygons with names and colours, for QuPath and others"),
    "coco": ("COCO", "A mask of each region and the list of classes, to train other networks"),
    "nrrd": ("NRRD", "Segments with names and colours, for 3D Slicer"),
    "envi labels": ("ENVI classes", "Classification with names and colours, for ENVI and QGIS"),
    "dicom": ("DICOM", "Segmentation, and the picture in true colour that it refers to"),
    "envi cube": ("Cube, ENVI", "The cube itself, with its wavelengths and position"),
    "tiff cube": ("Cube, TIFF", "The cube itself; a GeoTIFF if its position is known"),
    "ome-tiff cube": ("Cube, OME-TIFF", "The cube itself, for Fiji, OMERO and others"),
    "zarr labels": ("OME-Zarr", "The label map as a label image, for napari, Fiji and others"),
    "zarr cube": ("Cube, OME-Zarr", "The cube itself in a folder, for napari, Fiji and others"),
}
"""Contents for other programs, which are shown on request."""


class ExportPanel(QWidget):
    """Chooses what is exported and where, for this cube or for all cubes in a folder."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self.folder = FileEdit(
            label="Folder",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            value=Path.home() / "carl",
            tooltip="Folder the files are written to",
        )
        self.folder.choose_btn.text = "…"
        usual = {content: _box(content, *words) for content, words in _CONTENTS.items()}
        more = {content: _box(content, *words) for content, words in _MORE_CONTENTS.items()}
        self._boxes = usual | more
        self._folder_form = form(self.folder)
        self._contents_form = _in_two_columns(list(usual.values()))
        self._more_form = _in_two_columns(list(more.values()))
        self._more_form.native.hide()
        self._more = button("More formats", "quiet", "Files for QuPath, 3D Slicer, ENVI and others")
        self._more.setCheckable(True)
        self._more.toggled.connect(self._more_form.native.setVisible)
        self._export = button("Export", "primary", "Write the map of this cube")
        self._export.clicked.connect(self._on_export)
        self._many = button("Export a folder …", tip="Segment all cubes in a folder and write maps")
        self._many.clicked.connect(self._on_many)
        self._open = button("Open folder", "quiet", "Show the written files")
        self._open.clicked.connect(self._on_open)
        self._message = JobMessage(session.jobs, connections, JobKind.EXPORTING)
        self._files = label("", "muted", wrap=True)
        layout = column(self, spacing=8)
        layout.addWidget(self._folder_form.native)
        layout.addWidget(self._contents_form.native)
        layout.addLayout(row(self._more, QWidget(), stretch=1))
        layout.addWidget(self._more_form.native)
        layout.addLayout(row(self._export, self._many, QWidget(), self._open, stretch=2))
        layout.addWidget(JobBar(session.jobs, JobKind.EXPORTING, connections))
        layout.addWidget(ExistingFilesQuestion(session, connections))
        layout.addWidget(self._message)
        layout.addWidget(self._files)
        for box in self._boxes.values():
            box.changed.connect(self._refresh)
        connections.connect(session.jobs.changed, self._refresh)
        connections.connect(session.cube_changed, self._on_cube_changed)
        connections.connect(session.exported, self._on_exported)
        self._on_cube_changed()
        self._refresh()

    @property
    def target(self) -> Path:
        """The folder the files are written to."""
        return Path(self.folder.line_edit.value).expanduser()

    @property
    def contents(self) -> tuple[ExportContent, ...]:
        """The chosen contents."""
        return tuple(content for content, box in self._boxes.items() if box.value)

    def _on_export(self) -> None:
        self._message.clear()
        self._session.export(self.target, self.contents)

    def _on_many(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A folder with cubes")
        if folder:
            self._message.clear()
            self._session.export_folder(Path(folder), self.target, self.contents)

    def _on_open(self) -> None:
        folder = self._session.exported_files[0].parent
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _refresh(self) -> None:
        can_begin = self._session.jobs.state(JobKind.EXPORTING) is None and bool(self.contents)
        self._export.setEnabled(can_begin)
        self._many.setEnabled(can_begin)

    def _on_cube_changed(self) -> None:
        self._show_files(())

    def _on_exported(self, exported: Exported) -> None:
        lines = [describe_export(exported)]
        for name, error in exported.failures:
            reason = describe_error(error)
            lines.append(f"• {reason if name in reason else f'{name}: {reason}'}")
        self._message.show_message("\n".join(lines), "warning" if exported.failures else "muted")
        self._show_files(exported.files if exported.request.cubes is None else ())
        self._open.setVisible(bool(exported.files))

    def _show_files(self, files: tuple[Path, ...]) -> None:
        self._files.setText("\n".join(breakable(path.name) for path in files))
        self._files.setVisible(bool(files))
        self._open.setVisible(bool(files))


def _box(content: ExportContent, text: str, tip: str) -> CheckBox:
    """Return the box of a content, disabled if packages that it needs are not installed."""
    extra = missing_extra(content)
    if extra is None:
        return CheckBox(text=text, value=content in DEFAULT_CONTENTS, tooltip=tip)
    install = f'{tip}. Needs more packages: pip install "napari-carl[{extra}]"'
    return CheckBox(text=f"{text} (needs the extra {extra})", enabled=False, tooltip=install)


def _in_two_columns(boxes: list[CheckBox]) -> Container[Widget]:
    return form(form(*boxes[::2]), form(*boxes[1::2]), layout="horizontal")


class ExistingFilesQuestion(QWidget):
    """Asks whether an export may replace existing files; hidden while there are none."""

    def __init__(self, session: Session, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._text = label("", "warning", wrap=True)
        overwrite = button("Overwrite", tip="Replace these files")
        overwrite.clicked.connect(lambda: session.answer_export(overwrite=True))
        keep_both = button("Keep both", tip="Add a number to the names of the new files")
        keep_both.clicked.connect(lambda: session.answer_export(overwrite=False))
        cancel = button("Cancel", "quiet", "Write nothing")
        cancel.clicked.connect(session.drop_export_question)
        layout = column(self, spacing=4)
        layout.addWidget(self._text)
        layout.addLayout(row(overwrite, keep_both, QWidget(), cancel, stretch=2))
        connections.connect(session.export_question_changed, self._show)
        connections.connect(session.cube_changed, self._show)
        self._show()

    def _show(self) -> None:
        question = self._session.export_question
        text = "" if question is None else describe_existing(question.existing)
        self._text.setText(breakable(text))
        self.setVisible(question is not None)
