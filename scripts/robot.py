"""Hands and eyes for scripts: a display where there is none, mouse events, pictures of a window."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari import Viewer
    from qtpy.QtCore import QEvent
    from qtpy.QtWidgets import QWidget

Point = tuple[float, float]  # (row, column) of an image, in pixels
Stroke = list[Point]  # the corners of a line

# napari looks at the mouse every 5 ms; a hand is slower, and still for a moment before it lets go.
_BETWEEN_MOVES = 0.003  # seconds
_BEFORE_RELEASE = 0.1


def has_display() -> bool:
    """Whether a window could be seen by somebody."""
    return os.name == "nt" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


@contextmanager
def virtual_display(width: int, height: int) -> Iterator[None]:
    """A display that nobody sees, and napari settings of its own, until the end of the block."""
    readable, writable = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writable), "-screen", "0", f"{width}x{height}x24",
         "-nolisten", "tcp", "-terminate", "+extension", "GLX"],
        pass_fds=[writable], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writable)
    try:
        with os.fdopen(readable) as answer, tempfile.TemporaryDirectory() as home:
            number = answer.readline().strip()  # empty if the server ended instead
            if not number:
                raise SystemExit("Xvfb does not start: try it by hand to see why.")
            os.environ |= {
                "DISPLAY": f":{number}",
                "QT_QPA_PLATFORM": "xcb",
                "XDG_RUNTIME_DIR": home,
                "NAPARI_CONFIG": str(Path(home) / "settings.yaml"),
            }
            yield
    finally:
        server.terminate()
        server.wait()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Let the window live until the condition holds.

    Raises:
        TimeoutError: it did not hold in time.
    """
    from qtpy.QtWidgets import QApplication

    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not done in {seconds:g} s")
        QApplication.processEvents()
        time.sleep(0.01)


def rest(seconds: float) -> None:
    """Let the window live for a while, so that all that is due is drawn."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, seconds + 60, "resting")


def paint(viewer: Viewer, points: Stroke) -> None:
    """Draw a stroke through points of an image with the left mouse button."""
    from qtpy.QtCore import QEvent

    canvas = _canvas()
    path = [_on_canvas(viewer, canvas, point) for point in _every_pixel(points)]
    _send(canvas, QEvent.Type.MouseMove, path[0], pressed=False)
    _send(canvas, QEvent.Type.MouseButtonPress, path[0], pressed=True)
    for position in path[1:]:
        _send(canvas, QEvent.Type.MouseMove, position, pressed=True)
        time.sleep(_BETWEEN_MOVES)
    rest(_BEFORE_RELEASE)
    _send(canvas, QEvent.Type.MouseButtonRelease, path[-1], pressed=False)


def press_key(character: str) -> None:
    """Press and release a key over the canvas."""
    from qtpy.QtCore import QEvent, Qt
    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QApplication

    for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
        key = QKeyEvent(kind, ord(character), Qt.KeyboardModifier.NoModifier, character)
        QApplication.sendEvent(_canvas(), key)
        QApplication.processEvents()


def point_at(viewer: Viewer, point: Point) -> None:
    """Move the mouse over a point of an image."""
    from qtpy.QtCore import QEvent

    canvas = _canvas()
    _send(canvas, QEvent.Type.MouseMove, _on_canvas(viewer, canvas, point), pressed=False)


def scroll_to_end(widget: QWidget) -> None:
    """Show the lowest part of what scrolls inside a widget."""
    from qtpy.QtWidgets import QScrollArea

    bar = widget.findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())


def _canvas() -> QWidget:
    """The widget napari draws the layers on."""
    from qtpy.QtOpenGLWidgets import QOpenGLWidget
    from qtpy.QtWidgets import QApplication

    return next(w for w in QApplication.allWidgets() if isinstance(w, QOpenGLWidget))


def _every_pixel(points: Stroke) -> Stroke:
    corners = np.asarray(points, float)
    legs = [
        np.linspace(start, stop, max(2, int(np.abs(stop - start).max())), endpoint=False)
        for start, stop in pairwise(corners)
    ]
    return [tuple(point) for point in np.concatenate([*legs, corners[-1:]])]


def _on_canvas(viewer: Viewer, canvas: QWidget, point: Point) -> Point:
    """Where on the canvas, (x, y), the camera of a flat view shows a point."""
    camera = getattr(viewer, "scene", viewer).camera  # napari has moved it in 0.9
    row, column = (np.asarray(point) - camera.center[-2:]) * camera.zoom
    return canvas.width() / 2 + column, canvas.height() / 2 + row


def _send(canvas: QWidget, kind: QEvent.Type, position: Point, *, pressed: bool) -> None:
    from qtpy.QtCore import QPointF, Qt
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    changed = none if kind == QMouseEvent.Type.MouseMove else left
    local = QPointF(*position)
    event = QMouseEvent(
        kind,
        local,
        QPointF(canvas.mapToGlobal(local.toPoint())),
        changed,
        left if pressed else none,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)
    QApplication.processEvents()
