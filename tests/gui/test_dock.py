"""The dock in a viewer: what each event causes, and that a closed dock leaves nothing behind."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import robot
from napari.layers import Layer
from qtpy.QtCore import QPointF, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
)

from carl.cube import SpectralCube
from carl.io import DEFAULT_CONTENTS, write_cube
from carl.wavelengths import camera
from napari_carl import bands, segmentation
from napari_carl.jobs import JobKind
from napari_carl.layer_data import colour_layer, cube_layer
from napari_carl.panels.annotate import AnnotatePanel, ClassRow
from napari_carl.panels.cube import BadBands
from napari_carl.panels.export import ExportPanel
from napari_carl.panels.learn import NetworkChoice
from napari_carl.panels.plots import SpectrumPlot
from napari_carl.panels.wavelengths import WavelengthForm
from napari_carl.pictures import DisplayMode
from napari_carl.steps import NetworkOption, Step


@pytest.fixture
def session(dock, no_network):
    return dock.session


def paint_halves(viewer, name="two tissues"):
    strokes = viewer.layers[f"{name} strokes"]
    strokes.data[::6, 4:28] = 1
    strokes.data[::6, 36:60] = 2
    strokes.refresh()


def test_dock_shows_a_cube_that_was_opened_before(viewer, small_cube, no_network, qtbot, show):
    cube, _ = small_cube
    show(cube)

    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")

    assert dock.session.cube is cube
    assert "two tissues strokes" in viewer.layers
    assert dock.session.picture.pixels is viewer.layers["two tissues colour"].data


def test_dock_replaces_the_coarse_picture_of_the_reader(viewer, session, small_cube, qtbot):
    cube, _ = small_cube
    for data, attributes, kind in (cube_layer(cube), colour_layer(cube, 2)):
        viewer.add_layer(Layer.create(data, attributes, kind))
    picture = viewer.layers["two tissues colour"]
    assert picture.data.shape == (24, 32, 3)

    qtbot.waitUntil(lambda: picture.data.shape == (48, 64, 3))

    np.testing.assert_allclose(
        picture.extent.world, viewer.layers["two tissues strokes"].extent.world
    )


def test_strokes_layer_is_on_top_and_active(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    qtbot.waitUntil(
        lambda: viewer.layers.selection.active == viewer.layers["two tissues strokes"],
    )

    assert viewer.layers[-1].name == "two tissues strokes"
    assert isinstance(viewer.layers[-1].data, np.ndarray)


def test_steps_are_enabled_one_after_the_other(viewer, dock, session, small_cube, qtbot, show):
    def ready():
        return [step for step, section in dock.sections.items() if section.body.isEnabled()]

    assert ready() == [Step.CUBE]
    show(small_cube[0])
    assert ready() == [Step.CUBE, Step.EXPLORE, Step.ANNOTATE, Step.LEARN]
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None)
    assert ready() == list(Step)


def test_canvas_text_describes_what_is_displayed(viewer, session, small_cube, qtbot, show):
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
    qtbot.waitUntil(lambda: text.text == "660 nm / 570 nm / 450 nm")
    colour.visible = False  # by user
    assert text.text == "570 nm · band 5/8"


def test_three_bands_are_displayed_in_the_layer_of_the_colour_picture(
    viewer, session, small_cube, qtbot, show
):
    show(small_cube[0])
    before = viewer.layers["two tissues colour"].data

    session.show_bands(7, 4, 0)

    colour = viewer.layers["two tissues colour"]
    qtbot.waitUntil(lambda: colour.data is not before)
    assert len(viewer.layers) == 3


def test_spectrum_follows_the_cursor(viewer, session, user, small_cube, qtbot, show):
    cube, _ = small_cube
    show(cube)
    spectra = []
    session.cursor_changed.connect(spectra.append)

    user.point_at(10, 40)
    qtbot.waitUntil(lambda: bool(spectra))

    np.testing.assert_array_equal(spectra[-1], cube.spectrum(10, 40))


def test_form_asks_for_wavelengths_if_they_are_unknown(
    viewer, dock, session, small_cube, qtbot, show
):
    cube = SpectralCube(small_cube[0].data, name="two tissues")
    show(cube)
    form = dock.findChild(WavelengthForm)
    assert form.isVisibleTo(dock)
    assert not dock.sections[Step.LEARN].body.isEnabled()
    assert viewer.canvas.overlays.text.text == "false colour"
    viewer.dims.set_current_step(0, 5)
    assert viewer.canvas.overlays.text.text == "band 6/8"

    session.edit_cube(lambda cube: bands.with_bands(cube, bands.bands_of_text(cube, "450:660:30")))

    assert not form.isVisibleTo(dock)
    assert dock.sections[Step.LEARN].body.isEnabled()
    viewer.dims.set_current_step(0, 3)
    assert viewer.canvas.overlays.text.text == "540 nm · band 4/8"
    assert viewer.layers["two tissues"].metadata["carl"]["cube"] is session.cube
    assert session.jobs.state(JobKind.PRECOMPUTING) is not None


def test_wavelengths_are_set_from_each_source_of_the_form(dock, session, qtbot, show, tmp_path):
    def open_unknown(name):
        pixels = np.random.default_rng(0).random((6, 7, 3))
        show(SpectralCube(pixels, name=name))
        return dock.findChild(WavelengthForm)

    def apply(form):
        qtbot.waitUntil(lambda: "3 bands" in form.message.text)
        robot.click(form, "Apply")
        return session.cube.wavelengths.tolist()

    form = open_unknown("range")
    form.source.value = "Range"
    assert form.range.visible
    assert not form.camera.visible
    qtbot.keyClicks(form.range.native, "450:650:100")
    qtbot.keyClick(form.range.native, Qt.Key.Key_Return)
    assert session.cube.wavelengths.tolist() == [450, 550, 650]

    form = open_unknown("camera")
    form.source.value = "Camera"
    form.camera.value = "srgb"
    assert apply(form) == camera("srgb").wavelengths.tolist()

    form = open_unknown("table")
    form.source.value = "Table"
    (tmp_path / "bands.csv").write_text("wavelength\n460\n540\n630\n")
    form.table.value = tmp_path / "bands.csv"
    assert apply(form) == [460, 540, 630]


def test_contents_of_an_export_are_chosen_by_checkboxes(dock, session):
    panel = dock.findChild(ExportPanel)
    dock.sections[Step.EXPORT].set_state(True, "")
    assert panel.contents == DEFAULT_CONTENTS

    panel.findChild(QCheckBox).click()
    assert panel.contents == DEFAULT_CONTENTS[1:]

    assert export_button(panel).isEnabledTo(panel)
    for box in panel.findChildren(QCheckBox):
        box.setChecked(False)
    assert panel.contents == ()
    assert not export_button(panel).isEnabledTo(panel)


def export_button(panel):
    return next(each for each in panel.findChildren(QPushButton) if each.text() == "Export")


def test_bad_file_causes_one_notification(viewer, session, qtbot, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("napari_carl.thread_runner.show_error", shown.append)
    bad = tmp_path / "notes.tif"
    bad.write_text("not an image")

    session.open_cube(bad)
    qtbot.waitUntil(lambda: bool(shown))

    assert len(shown) == 1
    assert "notes.tif" in shown[0]
    assert len(viewer.layers) == 0
    assert session.cube is None


def test_cube_opened_in_the_dock_has_the_same_layers_as_with_the_reader(
    viewer, session, small_cube, qtbot, tmp_path
):
    write_cube(tmp_path / "two tissues.hdr", small_cube[0])

    session.open_cube(tmp_path / "two tissues.hdr")
    # The picture is added later than the bands, below the strokes.
    wanted = ["two tissues", "two tissues colour", "two tissues strokes"]
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers] == wanted)

    assert session.cube is not None


def test_removing_the_cube_keeps_the_strokes_layer(viewer, dock, session, small_cube, show):
    show(small_cube[0])

    viewer.layers.remove("two tissues")

    assert session.cube is None
    assert "two tissues strokes" in viewer.layers
    assert not dock.sections[Step.EXPLORE].body.isEnabled()
    assert not viewer.canvas.overlays.text.visible


def test_two_cubes_keep_their_own_strokes(viewer, dock, session, small_cube, qtbot, show):
    first = small_cube[0]
    second = SpectralCube(first.data, first.wavelengths, name="second")
    show(first)
    paint_halves(viewer)
    qtbot.waitUntil(lambda: len(session.counts) == 2)

    show(second)
    assert session.counts == {}
    assert [row.findChildren(QLabel)[-1].text() for row in dock.findChildren(ClassRow)] == [
        "–",
        "–",
    ]
    assert viewer.layers["second strokes"].visible
    assert not viewer.layers["two tissues strokes"].visible

    session.select_cube(first)
    assert len(session.counts) == 2
    assert viewer.layers["two tissues strokes"].visible


def test_cube_with_fewer_bands_opens_while_a_high_band_is_displayed(
    viewer, session, small_cube, show
):
    cube = small_cube[0]
    show(cube)
    viewer.dims.set_current_step(0, 7)

    show(SpectralCube(cube.data[..., :3], cube.wavelengths[:3], name="three bands"))
    session.show_band(session.band)

    assert session.band == 2
    assert viewer.canvas.overlays.text.text == "510 nm · band 3/3"


def test_a_removed_strokes_layer_is_shown_again_with_its_strokes(
    viewer, session, user, small_cube, show
):
    show(small_cube[0])
    paint_halves(viewer)
    painted = viewer.layers["two tissues strokes"].data.copy()

    none, control = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier
    for key, modifier in ((Qt.Key.Key_2, none), (Qt.Key.Key_Z, control)):
        viewer.layers.remove("two tissues strokes")
        assert session.counts == {1: 192, 2: 192}
        viewer.layers.selection.active = viewer.layers["two tissues"]
        user.press(key, modifier)
        strokes = viewer.layers["two tissues strokes"]
        np.testing.assert_array_equal(strokes.data, painted)
        assert strokes.selected_label == 2


def test_keys_choose_class_and_tool(viewer, session, user, small_cube, qtbot, show):
    show(small_cube[0])
    strokes = viewer.layers["two tissues strokes"]
    qtbot.waitUntil(lambda: viewer.layers.selection.active == strokes)

    user.press(Qt.Key.Key_2)
    assert (session.classes.current, str(strokes.mode)) == (2, "paint")
    user.press(Qt.Key.Key_E)
    assert str(strokes.mode) == "erase"
    user.press(Qt.Key.Key_B)
    assert str(strokes.mode) == "paint"
    user.press(Qt.Key.Key_7)  # no such class
    assert session.classes.current == 2

    viewer.layers.selection.active = viewer.layers["two tissues colour"]
    user.press(Qt.Key.Key_1)
    assert session.classes.current == strokes.selected_label == 1
    assert viewer.layers.selection.active == strokes


def test_class_colours_apply_to_strokes_and_map(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None)

    session.classes.recolour(2, (255, 0, 0))

    for name in ("two tissues strokes", "two tissues map"):
        layer = viewer.layers[name]
        np.testing.assert_allclose(layer.get_color(2), (1, 0, 0, 1))
        assert layer.metadata["carl"]["classes"][1].colour == (255, 0, 0)


def test_labels_with_named_classes_replace_the_class_table(viewer, session, qtbot):
    viewer.open_sample("napari-carl", "bladder_labels")

    assert [known.name for known in session.classes] == ["lumen", "urothelium", "stroma", "blood"]


def test_undo_and_redo_by_the_keys_of_napari(viewer, session, user, small_cube, qtbot, show):
    show(small_cube[0])
    user.press(Qt.Key.Key_1)
    user.paint((10, 10), (10, 20))
    qtbot.waitUntil(lambda: session.counts.get(1, 0) > 0)

    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.counts == {})

    user.press(
        Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    )
    qtbot.waitUntil(lambda: session.counts.get(1, 0) > 0)


def test_strokes_are_restored_until_they_are_discarded(
    viewer, session, dock, user, small_cube, qtbot, show, monkeypatch, carl_home
):
    show(small_cube[0])
    user.press(Qt.Key.Key_2)
    user.paint((10, 10), (10, 20))
    painted = viewer.layers["two tissues strokes"].data.copy()
    viewer.window.remove_dock_widget(dock.parent())  # before the strokes are reported
    viewer.layers.clear()

    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    show(small_cube[0])
    panel = dock.findChild(AnnotatePanel)
    discard = next(each for each in panel.findChildren(QPushButton) if each.text() == "Discard …")
    strokes = viewer.layers["two tissues strokes"]
    qtbot.waitUntil(lambda: strokes.data.any())
    np.testing.assert_array_equal(strokes.data, painted)
    qtbot.waitUntil(lambda: discard.isVisibleTo(dock))

    for answer in (QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes):
        assert strokes.data.any()
        assert any(carl_home.rglob("*.tif"))
        monkeypatch.setattr(QMessageBox, "question", lambda *_, answer=answer: answer)
        qtbot.mouseClick(discard, Qt.MouseButton.LeftButton)
    assert not strokes.data.any()
    assert not discard.isVisibleTo(dock)
    assert not any(carl_home.rglob("*.tif"))


def test_double_click_on_the_spectrum_toggles_a_bad_band(dock, session, small_cube, qtbot, show):
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


def test_choosing_the_network_again_drops_its_fine_tuning(dock, session, small_cube, show):
    show(small_cube[0])
    session.network = replace(session.network, is_tuned=True)
    choice = dock.findChild(NetworkChoice).findChild(QComboBox)
    choice.showPopup()
    choice.hidePopup()
    index = choice.findData(session.network.name)

    choice.activated.emit(index)

    assert not session.network.is_tuned


def test_networks_are_listed_when_the_menu_opens(dock, session, small_cube, show, monkeypatch):
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


def test_viewport_follows_the_camera(viewer, dock, session, small_cube, qtbot, show):
    show(small_cube[0])
    viewer.reset_view()
    assert (session.viewport.rows, session.viewport.columns) == ((0, 48), (0, 64))

    viewer.scene.camera.zoom = 40
    viewer.scene.camera.center = (0, 10, 50)
    viewport = session.viewport
    assert viewport.rows[0] <= 10 < viewport.rows[1] <= 30
    assert 30 <= viewport.columns[0] < 50 < viewport.columns[1]
    assert viewport.step == 1

    viewer.scene.camera.zoom = 0.3
    assert session.viewport.step == 3
    viewer.scene.camera.center = (0, 5000, 5000)
    assert session.viewport is None


def test_refined_map_is_written_into_the_same_layer(viewer, session, small_cube, qtbot, show):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.segmentation is not None)
    layer, data = viewer.layers["two tissues map"], viewer.layers["two tissues map"].data

    session.segmentation.labels[:] = 2
    session.segmentation_refined.emit()

    assert viewer.layers["two tissues map"] is layer
    assert layer.data is data
    assert (data == 2).all()


def test_closed_dock_is_garbage_collected_with_its_session(
    viewer, no_network, small_cube, qtbot, show, carl_threads
):
    dock_widget, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: bool(carl_threads()))
    gone = [weakref.ref(dock), weakref.ref(dock.session), weakref.ref(dock.session.jobs)]

    viewer.window.remove_dock_widget(dock_widget)
    assert not carl_threads()
    del dock, dock_widget

    def all_gone():
        gc.collect()
        return [each() for each in gone] == [None, None, None]

    qtbot.waitUntil(all_gone)
    assert not viewer.keymap
    assert viewer.mouse_move_callbacks == []
    assert not viewer.canvas.overlays.text.visible
    # The layers stay in the viewer and still work.
    strokes = viewer.layers["two tissues strokes"]
    strokes.paint((5, 5), 1)
    viewer.dims.set_current_step(0, 1)
    viewer.layers.remove("two tissues")


def test_closing_the_viewer_ends_all_jobs(
    viewer, dock, no_network, small_cube, qtbot, show, carl_threads
):
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: bool(carl_threads()))

    viewer.close()
    qtbot.waitUntil(lambda: not carl_threads())


def test_window_handles_events_while_the_cube_is_segmented(
    viewer, session, user, small_cube, qtbot, show, monkeypatch
):
    segment, may_end, ticks = segmentation.segment, threading.Event(), []

    def segment_later(*arguments):
        assert may_end.wait(120)
        yield from segment(*arguments)

    monkeypatch.setattr(segmentation, "segment", segment_later)
    show(small_cube[0])
    paint_halves(viewer)
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.SEGMENTING) is not None)
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(session.segmentation))
    timer.start(0)

    qtbot.waitUntil(lambda: len(ticks) >= 10)
    user.press(Qt.Key.Key_2)
    timer.stop()
    assert session.classes.current == 2
    assert ticks == len(ticks) * [None]

    may_end.set()
    qtbot.waitUntil(lambda: session.segmentation is not None)


def seen_rows_and_columns(viewer):
    """Return the rows and the columns of the world at the edges of the canvas."""
    half = np.array(viewer.canvas.size) / viewer.scene.camera.zoom / 2
    return np.array(viewer.scene.camera.center[-2:]) + np.array([-half, half])


def assert_framed(viewer, shape):
    """Check that an image of this shape fits into the canvas and fills it in one direction."""
    (top, left), (bottom, right) = seen_rows_and_columns(viewer)
    height, width = shape
    assert top <= -0.5 < height - 0.5 <= bottom
    assert left <= -0.5 < width - 0.5 <= right
    assert max(height / (bottom - top), width / (right - left)) > 0.9


def cube_of_shape(height, width, name):
    pixels = np.random.default_rng(0).random((height, width, 8))
    return SpectralCube(pixels, np.linspace(450, 660, 8), name=name)


def test_cubes_of_any_size_are_framed_when_they_are_opened(viewer, session, qtbot, show):
    shapes = [(48, 64), (200, 30), (20, 90), (20, 90)]
    for i, shape in enumerate(shapes):
        viewer.scene.camera.zoom = 40  # somewhere else
        show(cube_of_shape(*shape, name=f"cube {i}"))
        assert_framed(viewer, shape)
    for _ in range(20):
        QApplication.processEvents()
    assert_framed(viewer, shapes[-1])  # also after the slider has taken its place

    session.select_cube(session.cubes[1])
    assert_framed(viewer, shapes[1])


def test_cube_stays_framed_in_a_resized_window_until_the_camera_is_moved(
    viewer, session, qtbot, show
):
    def resize(width, height):
        before = viewer.canvas.size
        viewer.window.resize(width, height)
        qtbot.waitUntil(lambda: viewer.canvas.size != before)

    show(cube_of_shape(40, 90, "wide"))
    resize(1000, 700)
    assert_framed(viewer, (40, 90))

    viewer.scene.camera.zoom = 40
    resize(1200, 800)
    assert viewer.scene.camera.zoom == 40


def test_home_frames_the_current_cube(viewer, session, dock, show):
    show(cube_of_shape(200, 300, "large"))
    show(cube_of_shape(20, 30, "small"))
    viewer.scene.camera.zoom = 0.1
    window = dock.parentWidget().window()
    home = next(
        each for each in window.findChildren(QPushButton) if each.toolTip().startswith("Reset view")
    )

    home.click()
    assert_framed(viewer, (20, 30))

    for layer in viewer.layers:
        layer.visible = False
    viewer.scene.camera.zoom = 0.1
    home.click()
    assert_framed(viewer, (20, 30))

    viewer.layers.clear()
    home.click()


def test_home_frames_flat_layers_while_the_bands_are_hidden(viewer, session, dock, show):
    show(cube_of_shape(20, 30, "tissue"))
    viewer.layers["tissue"].visible = False
    viewer.scene.camera.zoom = 0.1

    viewer.reset_view()

    assert_framed(viewer, (20, 30))


def test_view_stays_when_bands_are_edited_or_the_dock_is_opened(viewer, no_network, show):
    show(cube_of_shape(48, 64, "tissue"))
    viewer.scene.camera.zoom, viewer.scene.camera.center = 40, (0, 10, 20)

    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    dock.session.edit_cube(
        lambda cube: bands.with_bands(cube, bands.bands_of_text(cube, "400:680:40"))
    )

    assert viewer.scene.camera.zoom == 40
    assert viewer.scene.camera.center == (0, 10, 20)


def test_the_automatic_box_follows_the_session(dock):
    (box,) = (each for each in dock.findChildren(QCheckBox) if each.text() == "Automatic")
    dock.session.set_automatic(False)
    assert not box.isChecked()
    box.setChecked(True)
    assert dock.session.automatic
