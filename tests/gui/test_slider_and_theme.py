"""The slider of the bands shows what it is labelled with, and plots follow the theme."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, Qt

from carl.cube import SpectralCube
from napari_carl.panels.learn import LearnPanel
from napari_carl.panels.plots import CurvePlot, SpectrumPlot
from napari_carl.pictures import DisplayMode


@pytest.fixture
def session(dock, no_network):
    return dock.session


@pytest.fixture
def two_cubes(session, show):
    """A cube of 8 bands and, selected, one of 3 bands."""
    many, few = (
        SpectralCube(
            np.random.default_rng(0).random((48, 64, n_bands), np.float32),
            np.linspace(450, 650, n_bands),
            name=f"{n_bands} bands",
        )
        for n_bands in (8, 3)
    )
    show(many)
    show(few)
    return many, few


def test_the_slider_stops_at_the_last_band_of_the_cube(viewer, session, two_cubes, user):
    text = viewer.canvas.overlays.text
    session.show_band(0)
    shown = []
    for _ in range(5):
        user.press(Qt.Key.Key_Right)  # napari's key for the next slice
        shown.append((viewer.dims.current_step[0], session.band, text.text))

    assert [(step, band) for step, band, _ in shown] == [(1, 1), *[(2, 2)] * 4]
    assert shown[-1][2] == "650 nm · band 3/3"

    viewer.dims.set_current_step(0, 6)  # as by dragging
    assert viewer.dims.current_step[0] == session.band == 2


def test_the_slider_is_moved_to_a_band_of_the_cube_that_is_selected(viewer, session, two_cubes):
    many, few = two_cubes
    session.select_cube(many)
    viewer.dims.set_current_step(0, 6)
    assert session.band == 6

    session.select_cube(few)
    assert viewer.dims.current_step[0] == session.band == 2
    session.show_band(session.band)
    assert viewer.canvas.overlays.text.text == "650 nm · band 3/3"
    assert session.display_mode is DisplayMode.SINGLE_BAND


@pytest.mark.parametrize("kind", [SpectrumPlot, CurvePlot])
def test_plots_follow_the_theme_while_they_are_open(viewer, dock, session, small_cube, show, kind):
    show(small_cube[0])
    plot = dock.findChild(kind)
    if kind is CurvePlot:  # shown as during fine-tuning
        dock.findChild(LearnPanel).findChild(CurvePlot).show()

    for theme in ("dark", "light", "dark"):
        viewer.theme = theme
        image = plot.grab().toImage()
        corner = image.pixelColor(QPoint(image.width() - 2, 2))
        background = get_theme(theme).background.as_rgb_tuple()[:3]
        np.testing.assert_allclose(corner.getRgb()[:3], background, atol=1)
        texts = plot.getAxis("bottom").textPen().color()
        assert abs(texts.lightness() - corner.lightness()) > 60
