"""The dock and its viewer: what follows what, and that nothing is left behind."""

from __future__ import annotations

import gc
import weakref
from time import perf_counter, sleep

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import QPointF, Qt, QTimer
from qtpy.QtWidgets import QComboBox, QLineEdit, QPushButton

from carl.cube import SpectralCube
from carl.io import write_cube
from napari_carl import bands
from napari_carl.autosave import strokes_file
from napari_carl.jobs import JobKind
from napari_carl.layer_data import colour_layer, cube_layer
from napari_carl.panels.annotate import AnnotatePanel
from napari_carl.panels.cube import BadBands, WavelengthForm
from napari_carl.panels.learn import NetworkChoice
from napari_carl.panels.plots import SpectrumPlot
from napari_carl.pictures import DisplayMode
from napari_carl.steps import NetworkOption, Step

LONG_MS = 120_000


@pytest.fixture
def no_network(monkeypatch):
    """Embedding takes too long for tests of other things: here it goes on until it is cancelled."""

    def embed_cube(features, network, device, progress):
        while True:
            progress(0.5, "Spectral features")
            sleep(0.01)
        yield

    monkeypatch.setattr("napari_carl.feature_jobs.embed_cube", embed_cube)


@pytest.fixture
def session(dock, no_network):
    return dock.session


def paint_halves(viewer, name="two tissues"):
    strokes = viewer.layers[f"{name} strokes"]
    strokes.data[::6, 4:28] = 1
    strokes.data[::6, 36:60] = 2
    strokes.refresh()


def test_a_dock_opened_late_finds_the_cube(viewer, small_cube, no_network, qtbot, show):
    cube, _ = small_cube
    show(cube)

    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")

    assert dock.session.cube is cube
    assert "two tissues strokes" in viewer.layers
    assert dock.session.picture.pixels is viewer.layers["two tissues colour"].data


def test_the_dock_refines_the_coarse_picture_of_a_reader(viewer, session, small_cube, qtbot):
    cube, _ = small_cube
    for data, attributes, kind in (cube_layer(cube), colour_layer(cube, cube.data.size // 4)):
        viewer.add_layer(Layer.create(data, attributes, kind))
    picture = viewer.layers["two tissues colour"]
    assert picture.data.shape == (24, 32, 3)

    qtbot.waitUntil(lambda: picture.data.shape == (48, 64, 3), timeout=LONG_MS)

    np.testing.assert_allclose(
        picture.extent.world, viewer.layers["two tissues strokes"].extent.world
    )


def test_strokes_lie_on_top_and_are_ready_to_be_painted(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    qtbot.waitUntil(
        lambda: viewer.layers.selection.active == viewer.layers["two tissues strokes"],
        timeout=LONG_MS,
    )

    assert viewer.layers[-1].name == "two tissues strokes"
    assert isinstance(viewer.layers[-1].data, np.ndarray)


def test_steps_open_up_one_after_the_other(viewer, dock, session, small_cube, qtbot, show):
    def ready():
        return [step for step, section in dock.sections.items() if section.body.isEnabled()]

    assert ready() == [Step.CUBE]
    show(small_cube[0])
    assert ready() == [Step.CUBE, Step.EXPLORE, Step.ANNOTATE, Step.LEARN]
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None, timeout=LONG_MS)
    assert ready() == list(Step)


def test_the_canvas_shows_the_name_of_the_display_mode(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    text, colour = viewer.canvas.overlays.text, viewer.layers["two tissues colour"]
    assert text.visible
    assert text.text == "true colour"

    viewer.dims.set_current_step(0, 2)
    assert text.text == "510 nm · band 3/8"
    assert session.display_mode is DisplayMode.SINGLE_BAND
    assert not colour.visible

    session.show_band(4)
    assert viewer.dims.current_step[0] == 4
    assert text.text == "570 nm · band 5/8"

    session.show_bands(7, 4, 0)
    qtbot.waitUntil(lambda: text.text == "660 nm / 570 nm / 450 nm", timeout=LONG_MS)
    colour.visible = False  # by hand
    assert text.text == "570 nm · band 5/8"


def test_three_bands_replace_the_colours_in_their_layer(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    before = viewer.layers["two tissues colour"].data

    session.show_bands(7, 4, 0)

    colour = viewer.layers["two tissues colour"]
    qtbot.waitUntil(lambda: colour.data is not before, timeout=LONG_MS)
    assert len(viewer.layers) == 3


def test_the_spectrum_follows_the_cursor(viewer, session, hand, small_cube, qtbot, show):
    cube, _ = small_cube
    show(cube)
    seen = []
    session.cursor_changed.connect(seen.append)

    hand.point_at(10, 40)
    qtbot.waitUntil(lambda: bool(seen), timeout=LONG_MS)

    np.testing.assert_array_equal(seen[-1], cube.spectrum(10, 40))


def test_a_cube_without_wavelengths_asks_for_them(viewer, dock, session, small_cube, qtbot, show):
    cube = SpectralCube(small_cube[0].data, name="two tissues")
    show(cube)
    form = dock.findChild(WavelengthForm)
    assert form.isVisibleTo(dock)
    assert not dock.sections[Step.LEARN].body.isEnabled()
    assert viewer.canvas.overlays.text.text == "false colour"
    viewer.dims.set_current_step(0, 5)
    assert viewer.canvas.overlays.text.text == "band 6/8"

    session.edit_cube(lambda cube: bands.with_range(cube, "450:660:30"))

    assert not form.isVisibleTo(dock)
    assert dock.sections[Step.LEARN].body.isEnabled()
    viewer.dims.set_current_step(0, 3)
    assert viewer.canvas.overlays.text.text == "540 nm · band 4/8"
    assert viewer.layers["two tissues"].metadata["carl"]["cube"] is session.cube
    assert session.jobs.state(JobKind.PRECOMPUTING) is not None


def test_a_bad_file_ends_as_one_notification(viewer, session, qtbot, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("napari_carl.thread_runner.show_error", shown.append)
    bad = tmp_path / "notes.tif"
    bad.write_text("not an image")

    session.open_cube(bad)
    qtbot.waitUntil(lambda: bool(shown), timeout=LONG_MS)

    assert len(shown) == 1
    assert "notes.tif" in shown[0]
    assert len(viewer.layers) == 0
    assert session.cube is None


def test_a_cube_opened_in_the_dock_arrives_as_with_the_reader(
    viewer, session, small_cube, qtbot, tmp_path
):
    write_cube(tmp_path / "two tissues.hdr", small_cube[0])

    session.open_cube(tmp_path / "two tissues.hdr")
    # The colours come a moment after the bands, and take their place below the strokes.
    wanted = ["two tissues", "two tissues colour", "two tissues strokes"]
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers] == wanted, timeout=LONG_MS)

    assert session.cube is not None


def test_removing_the_cube_leaves_the_strokes_to_the_user(viewer, dock, session, small_cube, show):
    show(small_cube[0])

    viewer.layers.remove("two tissues")

    assert session.cube is None
    assert "two tissues strokes" in viewer.layers
    assert not dock.sections[Step.EXPLORE].body.isEnabled()
    assert not viewer.canvas.overlays.text.visible


def test_two_cubes_keep_their_own_strokes(viewer, session, small_cube, qtbot, show):
    first = small_cube[0]
    second = SpectralCube(first.data, first.wavelengths, name="second")
    show(first)
    paint_halves(viewer)
    qtbot.waitUntil(lambda: len(session.counts) == 2, timeout=LONG_MS)

    show(second)
    assert session.counts == {}
    assert viewer.layers["second strokes"].visible
    assert not viewer.layers["two tissues strokes"].visible

    session.select_cube(first)
    assert len(session.counts) == 2
    assert viewer.layers["two tissues strokes"].visible


def test_removed_strokes_are_made_anew_when_somebody_paints(
    viewer, session, hand, small_cube, show
):
    show(small_cube[0])
    paint_halves(viewer)

    viewer.layers.remove("two tissues strokes")
    assert session.counts == {}

    viewer.layers.selection.active = viewer.layers["two tissues"]
    hand.press(Qt.Key.Key_2)
    strokes = viewer.layers["two tissues strokes"]
    assert not strokes.data.any()
    assert (strokes.selected_label, str(strokes.mode)) == (2, "paint")


def test_keys_choose_class_and_tool(viewer, session, hand, small_cube, qtbot, show):
    show(small_cube[0])
    strokes = viewer.layers["two tissues strokes"]
    qtbot.waitUntil(lambda: viewer.layers.selection.active == strokes, timeout=LONG_MS)

    hand.press(Qt.Key.Key_2)
    assert (session.classes.current, str(strokes.mode)) == (2, "paint")
    hand.press(Qt.Key.Key_E)
    assert str(strokes.mode) == "erase"
    hand.press(Qt.Key.Key_B)
    assert str(strokes.mode) == "paint"
    hand.press(Qt.Key.Key_7)  # no such class
    assert session.classes.current == 2

    viewer.layers.selection.active = viewer.layers["two tissues colour"]
    hand.press(Qt.Key.Key_1)
    assert session.classes.current == strokes.selected_label == 1
    assert viewer.layers.selection.active == strokes


def test_classes_colour_strokes_and_map(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None, timeout=LONG_MS)

    session.classes.recolour(2, (255, 0, 0))

    for name in ("two tissues strokes", "two tissues map"):
        layer = viewer.layers[name]
        np.testing.assert_allclose(layer.get_color(2), (1, 0, 0, 1))
        assert layer.metadata["carl"]["classes"][1].colour == (255, 0, 0)


def test_labels_with_named_classes_bring_their_names(viewer, session, qtbot):
    viewer.open_sample("napari-carl", "bladder_labels")

    assert [known.name for known in session.classes] == ["lumen", "urothelium", "stroma", "blood"]


def test_undo_of_napari_is_noticed(viewer, session, hand, small_cube, qtbot, show):
    show(small_cube[0])
    hand.press(Qt.Key.Key_1)
    hand.paint((10, 10), (10, 20))
    qtbot.waitUntil(lambda: session.counts.get(1, 0) > 0, timeout=LONG_MS)

    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.counts == {}, timeout=LONG_MS)

    hand.press(
        Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    )
    qtbot.waitUntil(lambda: session.counts.get(1, 0) > 0, timeout=LONG_MS)


def test_strokes_outlive_the_window_until_they_are_discarded(
    viewer, session, dock, hand, small_cube, qtbot, show
):
    show(small_cube[0])
    hand.press(Qt.Key.Key_2)
    hand.paint((10, 10), (10, 20))
    painted = viewer.layers["two tissues strokes"].data.copy()
    viewer.window.remove_dock_widget(dock.parent())  # before any pause: it is kept all the same
    viewer.layers.clear()

    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    show(small_cube[0])
    panel = dock.findChild(AnnotatePanel)
    discard = next(each for each in panel.findChildren(QPushButton) if each.text() == "Discard")
    strokes = viewer.layers["two tissues strokes"]
    qtbot.waitUntil(lambda: strokes.data.any(), timeout=LONG_MS)
    np.testing.assert_array_equal(strokes.data, painted)
    qtbot.waitUntil(lambda: discard.isVisibleTo(dock), timeout=LONG_MS)

    qtbot.mouseClick(discard, Qt.MouseButton.LeftButton)
    assert not strokes.data.any()
    assert not discard.isVisibleTo(dock)
    qtbot.waitUntil(lambda: not strokes_file(small_cube[0]).exists(), timeout=LONG_MS)


def test_a_double_click_on_the_spectrum_leaves_a_band_out(dock, session, small_cube, qtbot, show):
    show(small_cube[0])
    plot = dock.findChild(SpectrumPlot)

    def double_click(nm):
        scene = plot.getViewBox().mapViewToScene(QPointF(nm, 0.5))
        qtbot.mouseDClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=plot.mapFromScene(scene))

    double_click(538)
    assert session.cube.wavelengths[~session.cube.good_bands].tolist() == [540]
    field = dock.findChild(BadBands).findChild(QLineEdit)
    assert field.text() == "540"

    field.setText("450-480, 660")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert session.cube.good_bands.tolist() == [0, 0, 1, 1, 1, 1, 1, 0]

    double_click(655)
    assert session.cube.good_bands.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_networks_are_listed_when_they_are_asked_for(dock, session, small_cube, show, monkeypatch):
    show(small_cube[0])
    asked = []

    def offered():
        asked.append(True)
        return [
            NetworkOption("carl-nano", "carl-nano", "The small one.", True),
            NetworkOption("carl-base", "carl-base", "The large one.", True),
            NetworkOption("far-away", "far-away", "carl download far-away", False),
        ]

    monkeypatch.setattr("napari_carl.panels.learn.network_options", offered)
    choice = dock.findChild(NetworkChoice).findChild(QComboBox)
    assert asked == []
    assert choice.currentText().startswith("carl-nano")

    choice.showPopup()
    choice.hidePopup()
    assert asked == [True]
    assert [choice.model().item(i).isEnabled() for i in range(3)] == [True, True, False]

    choice.setCurrentIndex(1)
    choice.activated.emit(1)
    assert session.network.name == "carl-base"
    assert choice.currentText().startswith("carl-base")


def test_the_session_knows_what_is_seen(viewer, dock, session, small_cube, qtbot, show):
    show(small_cube[0])
    viewer.reset_view()
    assert (session.viewport.rows, session.viewport.columns) == ((0, 48), (0, 64))

    viewer.scene.camera.zoom = 40
    viewer.scene.camera.center = (0, 10, 50)
    seen = session.viewport
    assert seen.rows[0] <= 10 < seen.rows[1] <= 30
    assert 30 <= seen.columns[0] < 50 < seen.columns[1]
    assert seen.step == 1

    viewer.scene.camera.zoom = 0.3
    assert session.viewport.step == 3
    viewer.scene.camera.center = (0, 5000, 5000)
    assert session.viewport is None


def test_a_sharper_map_is_drawn_into_the_same_layer(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None, timeout=LONG_MS)
    layer, data = viewer.layers["two tissues map"], viewer.layers["two tissues map"].data

    session.segmentation.labels[:] = 2
    session.segmentation_refined.emit()

    assert viewer.layers["two tissues map"] is layer
    assert layer.data is data
    assert (data == 2).all()


def test_a_closed_dock_is_gone_with_all_that_was_behind_it(
    viewer, no_network, small_cube, qtbot, show, carl_threads
):
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: bool(carl_threads()), timeout=LONG_MS)
    gone = [weakref.ref(dock), weakref.ref(dock.session), weakref.ref(dock.session.jobs)]

    viewer.window.remove_dock_widget(dock_widget)
    assert not carl_threads()
    del dock, dock_widget

    def all_gone():
        gc.collect()
        return [each() for each in gone] == [None, None, None]

    qtbot.waitUntil(all_gone, timeout=LONG_MS)
    assert not viewer.keymap
    assert viewer.mouse_move_callbacks == []
    assert not viewer.canvas.overlays.text.visible
    # The layers are the user's, and work as before.
    strokes = viewer.layers["two tissues strokes"]
    strokes.paint((5, 5), 1)
    viewer.dims.set_current_step(0, 1)
    viewer.layers.remove("two tissues")


def test_closing_the_viewer_ends_all_work(
    viewer, dock, no_network, small_cube, qtbot, show, carl_threads
):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: bool(carl_threads()), timeout=LONG_MS)

    viewer.close()
    qtbot.waitUntil(lambda: not carl_threads(), timeout=LONG_MS)


def test_the_window_stays_alive_while_a_map_is_learned(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None, timeout=LONG_MS)
    qtbot.wait(100)
    beats = []
    heart = QTimer()
    heart.timeout.connect(lambda: beats.append(perf_counter()))
    heart.start(10)

    before = session.segmentation
    viewer.layers["two tissues strokes"].data[20:24, 4:28] = 1
    viewer.layers["two tissues strokes"].refresh()
    qtbot.waitUntil(lambda: session.segmentation is not before, timeout=LONG_MS)
    heart.stop()

    longest = 1000 * np.diff(beats).max()
    print(f"longest gap of the window's heartbeat while learning: {longest:.0f} ms")
    assert longest < 500
