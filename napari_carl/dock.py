"""The CARL dock: five steps from a cube to exported labels, beside one viewer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QCoreApplication, QEvent, Qt, QTimer
from qtpy.QtWidgets import QScrollArea, QWidget

from napari_carl.autosave import Autosave
from napari_carl.canvas import CanvasText, Keys, Pointer, ViewportFollower
from napari_carl.jobs import JobKind
from napari_carl.layers import ViewerLayers
from napari_carl.panels.annotate import AnnotatePanel
from napari_carl.panels.cube import CubePanel
from napari_carl.panels.explore import ExplorePanel
from napari_carl.panels.export import ExportPanel
from napari_carl.panels.learn import LearnPanel
from napari_carl.panels.parts import column, line
from napari_carl.panels.section import Section
from napari_carl.panels.theme import stylesheet, theme_colours
from napari_carl.session import Session
from napari_carl.steps import Step, step_state
from napari_carl.strokes import StrokeTools
from napari_carl.thread_runner import ThreadRunner, notify
from napari_carl.torch_loading import preload

if TYPE_CHECKING:
    import napari.viewer

_PAUSE_MS = 250
"""Without a stroke for so long, the map follows."""
_MIN_WIDTH = 330
_CURSOR_MS = 40
_LETTER_MS = 50


class Assembly:
    """Everything behind the widgets of one dock, and the one clean-up that undoes it."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self.runner = ThreadRunner()
        self.session = Session(self.runner)
        self.layers = ViewerLayers(viewer, self.session)
        self.tools = StrokeTools(self.layers, self.session)
        self.autosave = Autosave(self.session)
        self.autosave.found.connect(self.tools.restore)
        self.pointer = Pointer(viewer, self.layers)
        self._viewport = ViewportFollower(viewer, self.session, self.layers)
        self.text = CanvasText(viewer, self.session, self.layers)
        self._keys = Keys(viewer, self.session, self.layers, self.tools)
        self._is_closed = False
        self.session.failed.connect(notify)
        self.session.jobs.start(JobKind.PRELOADING, preload, lambda _: None)

    def close(self) -> None:
        """Call off and join all work, and let go of the viewer; its layers stay."""
        if self._is_closed:
            return
        self._is_closed = True
        self.tools.report()
        self.runner.close()
        self.autosave.close()
        for part in (self._keys, self.text, self._viewport, self.pointer, self.tools, self.layers):
            part.close()
        session = self.session
        for emitter in (
            session,
            session.jobs,
            session.classes,
            session.network,
            session.exports,
            self.autosave,
        ):
            disconnect_all(emitter)

    def abandon(self, *_: Any) -> None:
        """The same when the window is gone already and its canvas must not be drawn on."""
        self.text.forget_canvas()
        self.close()


def disconnect_all(emitter: object) -> None:
    """Take every listener off every signal of an object."""
    for name, attribute in vars(type(emitter)).items():
        if isinstance(attribute, Signal):
            getattr(emitter, name).disconnect()


class CarlDock(QWidget):
    """The five steps, top to bottom, in a column that scrolls.

    napari closes a dock by taking its parent away, and a window by destroying what is in it;
    neither sends a close event. Either way, and when the application quits, the session is closed.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._assembly = assembly = Assembly(viewer)
        self._was_docked = False
        self.session = assembly.session
        self._explore = ExplorePanel(self.session)
        self._learn = LearnPanel(self.session)
        self.sections = {
            Step.CUBE: Section(1, "Cube", CubePanel(self.session)),
            Step.EXPLORE: Section(2, "Explore", self._explore),
            Step.ANNOTATE: Section(
                3, "Annotate", AnnotatePanel(self.session, assembly.tools, assembly.autosave)
            ),
            Step.LEARN: Section(4, "Learn", self._learn),
            Step.EXPORT: Section(5, "Export", ExportPanel(self.session)),
        }
        self._lay_out()
        self._start_timers()
        self._listen()
        self._on_theme()
        self._refresh()
        assembly.layers.take_in_present()

    def close_session(self) -> None:
        """Call off all work and let go of the viewer. The dock is of no use afterwards."""
        self._pause.stop()
        self._rest.stop()
        self._letters.stop()
        self._viewer.events.theme.disconnect(self._on_theme)
        self._assembly.close()

    def event(self, event: QEvent) -> bool:
        """Notice when the dock is closed."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._was_docked = True
            elif self._was_docked:
                self.close_session()
                self.deleteLater()
        return super().event(event)

    def _on_quit(self) -> None:
        self._assembly.abandon()

    def _lay_out(self) -> None:
        self.setMinimumWidth(_MIN_WIDTH)
        steps = QWidget()
        layout = column(steps, spacing=0)
        for section in self.sections.values():
            layout.addWidget(section)
            layout.addWidget(line())
        layout.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(steps)
        column(self).addWidget(scroll)

    def _start_timers(self) -> None:
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._assembly.tools.report)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_CURSOR_MS)
        self._rest.timeout.connect(self._point)
        self._pixel = (0, 0)
        self._letters = QTimer(self)
        self._letters.setInterval(_LETTER_MS)
        self._letters.timeout.connect(self._learn_letter)
        self._letters.start()

    def _listen(self) -> None:
        session, assembly = self.session, self._assembly
        for signal in (
            session.cube_changed,
            session.strokes_changed,
            session.network.changed,
            session.segmentation_changed,
            session.exports.changed,
            session.jobs.changed,
        ):
            signal.connect(self._refresh)
        assembly.layers.cube_taken_in.connect(self._on_cube_taken_in)
        assembly.tools.touched.connect(self._on_touched)
        assembly.pointer.moved.connect(self._on_pointer)
        self._viewer.events.theme.connect(self._on_theme)
        # The widget is gone when `destroyed` comes: what is to be closed has to outlive it.
        self.destroyed.connect(partial(Assembly.abandon, assembly))
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._on_quit)

    def _refresh(self) -> None:
        for step, section in self.sections.items():
            state = step_state(self.session, step)
            section.set_state(state.ready, state.line)

    def _on_theme(self, event: Any = None) -> None:
        colours = theme_colours(self._viewer.theme)
        self.setStyleSheet(stylesheet(colours))
        self._explore.set_colours(colours)
        self._learn.set_colours(colours)

    def _on_cube_taken_in(self) -> None:
        # napari selects the layers of a file once all of them are there; the strokes come after.
        QTimer.singleShot(0, self._assembly.layers.require_strokes)

    def _on_touched(self) -> None:
        self._pause.start()

    def _learn_letter(self) -> None:
        if not self._assembly.text.learn_letter():
            self._letters.stop()

    def _on_pointer(self, row: int, column: int) -> None:
        self._pixel = (row, column)
        if not self._rest.isActive():
            self._rest.start()

    def _point(self) -> None:
        self.session.point_at(*self._pixel)
