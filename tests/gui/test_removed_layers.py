"""Layers are removed in the OpenGL context that drew them."""

from __future__ import annotations

from qtpy.QtGui import QOpenGLContext
from qtpy.QtOpenGLWidgets import QOpenGLWidget


def test_layers_are_removed_in_the_context_of_the_canvas(
    viewer, dock, show, small_cube, qtbot
) -> None:
    """Otherwise the process may end by a signal when the next layer is drawn."""
    show(small_cube[0])
    canvas = dock.window().centralWidget().findChild(QOpenGLWidget)
    qtbot.waitUntil(canvas.isValid)
    current = []
    viewer.layers.events.removing.connect(lambda _: current.append(QOpenGLContext.currentContext()))
    viewer.layers.select_all()

    canvas.doneCurrent()
    viewer.layers.remove_selected()

    assert len(current) > 1
    assert all(each is canvas.context() for each in current)
