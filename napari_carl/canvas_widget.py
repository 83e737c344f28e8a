"""The widget of napari's canvas, found from another widget in its window."""

from __future__ import annotations

from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow, QWidget


def focus_canvas(widget: QWidget) -> None:
    """Give the keyboard focus to the canvas in the window of a widget."""
    canvas = _find_canvas(widget)
    if canvas is not None:
        canvas.setFocus()


def pass_to_canvas(widget: QWidget, event: QEvent) -> bool:
    """Pass a key event that no control has used to the canvas in the window of a widget."""
    canvas = _find_canvas(widget)
    return canvas is not None and QCoreApplication.sendEvent(canvas, event)


def use_canvas_context(widget: QWidget) -> None:
    """Make the OpenGL context of the canvas in the window of a widget current.

    When layers are removed, napari 0.9 deletes their OpenGL objects in whatever context is current,
    often that in which Qt composes the window. The objects are of both contexts, but after a shader
    was deleted in another one Mesa draws with none in the canvas: the process ends by a signal.
    """
    canvas = _find_canvas(widget)
    if canvas is not None:
        canvas.makeCurrent()


def _find_canvas(widget: QWidget) -> QOpenGLWidget | None:
    above: QWidget | None = widget
    while above is not None and not isinstance(above, QMainWindow):  # a floating dock is a window
        above = above.parentWidget()
    central = None if above is None else above.centralWidget()
    return None if central is None else central.findChild(QOpenGLWidget)
