"""Virtual display, mouse and keyboard for scripts and tests that drive the real window."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QWidget

Point = tuple[float, float]  # (row, column) of an image, in pixels
Stroke = list[Point]  # corners of a polyline

_POLL_INTERVAL = 0.002
"""Seconds between two checks of a condition."""
_MOVE_TOLERANCE = 0.51
"""Largest distance of the cursor from where the mouse was moved to, in pixels of the canvas: Qt
reports whole pixels."""
_MOVE_TIMEOUT = 600
"""Seconds until a move of the mouse that napari has not handled is an error."""


def has_display() -> bool:
    """Return whether there is a display to open a window on."""
    return os.name == "nt" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


@contextmanager
def virtual_display(width: int, height: int) -> Iterator[None]:
    """Provide an Xvfb display, with settings and data in a temporary folder, inside the block."""
    readable, writable = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writable), "-screen", "0", f"{width}x{height}x24",
         "-nolisten", "tcp", "-terminate", "+extension", "GLX"],
        pass_fds=[writable], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writable)
    try:
        with os.fdopen(readable) as answer, tempfile.TemporaryDirectory() as home:
            number = answer.readline().strip()  # empty if the server has ended
            if not number:
                raise SystemExit("Xvfb does not start: run it in a shell to see the reason.")
            os.environ |= {
                "DISPLAY": f":{number}",
                "QT_QPA_PLATFORM": "xcb",
                "XDG_RUNTIME_DIR": home,
                "NAPARI_CONFIG": str(Path(home) / "settings.yaml"),
                "CARL_HOME": str(Path(home) / "carl"),
            }
            yield
    finally:
        server.terminate()
        server.wait()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Process Qt events until the condition holds.

    Raises:
        TimeoutError: it does not hold after so many seconds.
    """
    from qtpy.QtWidgets import QApplication

    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not done in {seconds:g} s")
        QApplication.processEvents()
        time.sleep(_POLL_INTERVAL)


def process_events(seconds: float) -> None:
    """Process Qt events for so many seconds, so that everything pending is drawn."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, seconds + 60, "processing events")


class UserInput:
    """Sends mouse and keyboard events to the canvas of a viewer."""

    def __init__(self, viewer: Viewer, window: QWidget) -> None:
        from qtpy.QtOpenGLWidgets import QOpenGLWidget

        self._viewer = viewer
        self._canvas = window.findChild(QOpenGLWidget)

    def paint(self, *corners: Point) -> None:
        """Draw a stroke through (row, column) corners with the left mouse button."""
        from qtpy.QtCore import QEvent

        path = _every_pixel(corners)
        self._move(path[0], held=False)
        self._send(QEvent.Type.MouseButtonPress, self._on_canvas(path[0]), held=True)
        for point in path[1:]:
            self._move(point, held=True)
        self._send(QEvent.Type.MouseButtonRelease, self._on_canvas(path[-1]), held=False)

    def point_at(self, row: float, column: float) -> None:
        """Move the mouse to a pixel."""
        self._move((row, column), held=False)

    def press(self, key: int | str, modifier: Any = None) -> None:
        """Press and release a key, given as a character or as one of Qt's keys."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        none = Qt.KeyboardModifier.NoModifier
        QTest.keyClick(self._canvas, key, none if modifier is None else modifier)
        QApplication.processEvents()

    def _on_canvas(self, point: Point) -> Point:
        """Return the (x, y) position on the canvas of a point in a 2D view."""
        camera = self._viewer.scene.camera
        row, column = (np.asarray(point) - camera.center[-2:]) * camera.zoom
        return self._canvas.width() / 2 + column, self._canvas.height() / 2 + row

    def _move(self, point: Point, *, held: bool) -> None:
        """Move the mouse to a point, again and again until napari, which skips moves, is there."""
        from qtpy.QtCore import QEvent

        def is_there() -> bool:
            self._send(QEvent.Type.MouseMove, self._on_canvas(point), held=held)
            distance = np.abs(np.subtract(self._viewer.cursor.position[-2:], point)).max()
            return bool(distance * self._viewer.scene.camera.zoom <= _MOVE_TOLERANCE)

        wait_until(is_there, _MOVE_TIMEOUT, f"moving the mouse to {point}")

    def _send(self, kind: QEvent.Type, position: Point, *, held: bool) -> None:
        from qtpy.QtCore import QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        local = QPointF(*position)
        event = QMouseEvent(
            kind,
            local,
            QPointF(self._canvas.mapToGlobal(local.toPoint())),
            none if kind == QMouseEvent.Type.MouseMove else left,
            left if held else none,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self._canvas, event)
        QApplication.processEvents()


def click(window: QWidget, text: str) -> None:
    """Click the visible button with that text.

    Raises:
        LookupError: there is none.
    """
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QAbstractButton

    for button in window.findChildren(QAbstractButton):
        if button.text() == text and button.isVisibleTo(window):
            QTest.mouseClick(button, Qt.MouseButton.LeftButton)
            return
    raise LookupError(f"There is no visible button '{text}'.")


def scroll_to_end(widget: QWidget) -> None:
    """Scroll the scroll area inside a widget to its end."""
    from qtpy.QtWidgets import QScrollArea

    bar = widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())


def _every_pixel(corners: Sequence[Point]) -> Stroke:
    """Return points along a polyline, a pixel apart."""
    ends = np.asarray(corners, float)
    legs = [
        np.linspace(start, stop, max(2, int(np.abs(stop - start).max())), endpoint=False)
        for start, stop in pairwise(ends)
    ]
    return [tuple(point) for point in np.concatenate([*legs, ends[-1:]])]
