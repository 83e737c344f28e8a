"""The CARL dock: five steps from a cube to exported labels, beside the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QEvent, Qt, QTimer
from qtpy.QtWidgets import QScrollArea, QWidget

from carl.io import ChoiceError
from napari_carl.autosave import Autosave
from napari_carl.canvas import CanvasText, CursorSpectrum, Framing, ViewportTracker
from napari_carl.canvas_widget import pass_to_canvas, use_canvas_context
from napari_carl.connections import Connections
from napari_carl.jobs import JobKind
from napari_carl.keys import StrokeKeys
from napari_carl.layers import ViewerLayers
from napari_carl.offered_layers import OfferedLayers
from napari_carl.offers import Offers
from napari_carl.opening import Opening
from napari_carl.painting import Painting
from napari_carl.panels.annotate import AnnotatePanel
from napari_carl.panels.cube import CubePanel
from napari_carl.panels.explore import ExplorePanel
from napari_carl.panels.export import ExportPanel
from napari_carl.panels.learn import LearnPanel
from napari_carl.panels.theme import stylesheet, theme_colours
from napari_carl.panels.widgets import Section, column, separator
from napari_carl.readers import undecided_files
from napari_carl.session import Session
from napari_carl.steps import Step, step_state
from napari_carl.strokes import StrokeTools
from napari_carl.thread_runner import ThreadRunner, notify
from napari_carl.torch_loading import preload

if TYPE_CHECKING:
    import napari.viewer

_MIN_WIDTH = 330
"""Smallest width of the dock, in pixels."""


class Controller:
    """Connects a session with its viewer; `close` undoes all of it.

    It outlives the widgets of the dock, which may be destroyed before they can be closed.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self.runner = ThreadRunner()
        self.session = Session(self.runner)
        self.layers = ViewerLayers(viewer, self.session)
        self.tools = StrokeTools(self.layers, self.session)
        self.autosave = Autosave(self.session)
        self.opening = Opening(self.session)
        self.offers = Offers(self.session)
        self.connections = Connections()
        self.painting = Painting(viewer, self.layers, self.tools, self.connections)
        self._text = CanvasText(viewer, self.session, self.layers)
        # These live as long as their connections.
        StrokeKeys(viewer, self.session, self.layers, self.tools, self.painting, self.connections)
        Framing(viewer, self.session, self.layers, self.connections)
        CursorSpectrum(viewer, self.session, self.layers, self.connections)
        ViewportTracker(viewer, self.session, self.layers, self.connections)
        OfferedLayers(viewer, self.session, self.layers, self.offers, self.connections)
        self._is_closed = False
        self.connections.connect(undecided_files.found, self._ask)
        self.connections.connect(self.session.failed, notify)
        self.connections.connect(self.autosave.failed, notify)
        self.session.jobs.start(JobKind.PRELOADING, preload, lambda _: None)

    def _ask(self, path: Path, error: ChoiceError) -> None:
        """Ask which cube to open if the file was opened in this viewer."""
        import napari

        current = napari.current_viewer()
        if current is not None and self._viewer.window == current.window:
            self.opening.ask(path, error)

    def close(self, *, canvas_exists: bool = True) -> None:
        """Cancel all jobs, wait for them, and disconnect from the viewer; its layers stay."""
        if self._is_closed:
            return
        self._is_closed = True
        self.tools.close()
        self.runner.close()
        self.autosave.close()
        self.session.close()
        self._text.close(canvas_exists=canvas_exists)
        self.connections.close()
        self.layers.close()


class CarlDock(QWidget):
    """The five steps in a column that scrolls.

    napari closes a dock by removing its parent, and a window by destroying its children; neither
    sends a close event. In both cases, and when the application quits, the session is closed.

    Args:
        viewer: passed by napari, which recognises the parameter by its annotation.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._controller = controller = Controller(viewer)
        self._was_docked = False
        session = self.session = controller.session
        connections = controller.connections
        self.offers = controller.offers
        self._explore = ExplorePanel(session, connections)
        self._learn = LearnPanel(session, controller.offers, connections)
        panels = {
            Step.CUBE: CubePanel(session, controller.opening, controller.offers, connections),
            Step.EXPLORE: self._explore,
            Step.ANNOTATE: AnnotatePanel(
                session,
                controller.tools,
                controller.painting,
                controller.autosave,
                controller.offers,
                connections,
            ),
            Step.LEARN: self._learn,
            Step.EXPORT: ExportPanel(session, connections),
        }
        self.sections = {
            step: Section(step, step.name.capitalize(), panel) for step, panel in panels.items()
        }
        self._lay_out()
        for signal in (
            session.cube_changed,
            session.strokes_changed,
            session.features_changed,
            session.segmentation_changed,
            session.exported,
            session.jobs.changed,
        ):
            connections.connect(signal, self._refresh)
        connections.connect(controller.layers.cube_added, self._on_cube_added)
        connections.connect(viewer.events.theme, self._on_theme)
        connections.connect(viewer.layers.events.removing, self._on_removing)
        # This widget no longer exists when `destroyed` is emitted: the slot must not refer to it.
        self.destroyed.connect(lambda: controller.close(canvas_exists=False))
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._on_quit)
        self._on_theme()
        self._refresh()
        controller.layers.add_present_cubes()

    def event(self, event: QEvent | None) -> bool:
        """Close the session when napari removes the dock; pass unused keys to the canvas."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._was_docked = True
            elif self._was_docked:
                self._controller.close()
                self.deleteLater()
        if event is not None and event.type() in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            return pass_to_canvas(self, event)
        return super().event(event)

    def _on_quit(self) -> None:
        self._controller.close(canvas_exists=False)

    def _lay_out(self) -> None:
        self.setMinimumWidth(_MIN_WIDTH)
        steps = QWidget()
        layout = column(steps, spacing=0)
        for section in self.sections.values():
            layout.addWidget(section)
            layout.addWidget(separator())
        layout.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(steps)
        column(self).addWidget(scroll)

    def _refresh(self) -> None:
        for step, section in self.sections.items():
            state = step_state(self.session, step)
            section.set_state(state.ready, state.line)

    def _on_theme(self, event: Any = None) -> None:
        colours = theme_colours(self._viewer.theme)
        self.setStyleSheet(stylesheet(colours))
        self._explore.set_colours(colours)
        self._learn.set_colours(colours)

    def _on_removing(self, event: Any = None) -> None:
        use_canvas_context(self)

    def _on_cube_added(self) -> None:
        # napari selects the layers of a file once all are added; select the strokes after that.
        QTimer.singleShot(0, self._controller.layers.require_strokes)
