"""The saved versions of the strokes: what was restored, Restore, and Discard."""

from __future__ import annotations

from qtpy.QtWidgets import QMenu, QMessageBox, QWidget

from napari_carl.autosave import Autosave
from napari_carl.connections import Connections
from napari_carl.panels.widgets import MessageLine, button, column, label, row
from napari_carl.session import Session
from napari_carl.stroke_versions import SavedStrokes


class SavedStrokesRow(QWidget):
    """Shows which strokes were restored; restores other versions, and discards all on request."""

    def __init__(self, session: Session, autosave: Autosave, connections: Connections) -> None:
        super().__init__()
        self._session = session
        self._autosave = autosave
        self._text = label("", "muted", wrap=True)
        self._shared = label(
            "This cube is open in another window too: each window saves its own version of the "
            "strokes, and they are merged when the cube is opened again.",
            "warning",
            wrap=True,
        )
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._restore = button("Restore", "quiet", "Replace the strokes by a saved version")
        self._restore.setMenu(self._menu)
        self._discard = button("Discard …", "quiet", "Delete the strokes and their saved versions")
        self._discard.clicked.connect(self._on_discard)
        layout = column(self, spacing=4)
        layout.addLayout(row(self._text, self._restore, self._discard, stretch=0))
        layout.addWidget(self._shared)
        self._problem = MessageLine()
        layout.addWidget(self._problem)
        connections.connect(autosave.changed, self._show)
        connections.connect(autosave.failed, self._problem.show_error)
        connections.connect(autosave.recovered, self._problem.clear)
        connections.connect(session.cube_changed, self._problem.clear)
        self._show()

    def _show(self) -> None:
        restored, versions = self._autosave.restored, self._autosave.versions
        if restored is not None and restored.n_windows > 1:
            merged = f"Merged the strokes of {restored.n_windows} windows"
            self._text.setText(f"{merged}, {restored.time:%d %b, %H:%M}.")
        elif restored is not None:
            self._text.setText(f"Restored the strokes of {restored.time:%d %b, %H:%M}.")
        else:
            self._text.setText(f"{len(versions)} saved versions of the strokes.")
        self._shared.setVisible(self._autosave.is_shared)
        for widget in (self._text, self._restore, self._discard):
            widget.setVisible(bool(versions))
        is_needed = bool(versions) or self._autosave.is_shared or bool(self._problem.text)
        self.setVisible(is_needed)

    def _fill_menu(self) -> None:
        self._menu.clear()
        for version in reversed(self._autosave.versions):
            action = self._menu.addAction(describe_version(version))
            if action is not None:
                action.triggered.connect(lambda _, chosen=version: self._autosave.restore(chosen))

    def _on_discard(self) -> None:
        answer = QMessageBox.question(
            self,
            "Discard the strokes",
            "Delete the strokes on this cube and all saved versions of them? The saved versions "
            "cannot be recovered.",
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._autosave.discard()


def describe_version(version: SavedStrokes) -> str:
    """Describe a saved version by its time, its labelled pixels and its classes."""
    names = ", ".join(each.name for each in version.classes)
    return f"{version.time:%d %b %Y, %H:%M:%S} · {version.n_pixels:,} px · {names}"
