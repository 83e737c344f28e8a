"""Layers of the user's own: offered as strokes, as truth and as a cube."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton
from tifffile import imwrite

from carl.io import LabelClass
from napari_carl.jobs import JobKind
from napari_carl.panels.annotate import AnnotatePanel
from napari_carl.panels.cube import CubePanel
from napari_carl.panels.offers import CubeOffer, StrokesOffer, TruthOffer
from napari_carl.panels.wavelengths import WavelengthForm

LONG_MS = 600_000
CLASSES = (LabelClass(1, "fat", (250, 210, 60)), LabelClass(2, "muscle", (170, 30, 40)))


@pytest.fixture
def session(dock, no_network):
    return dock.session


@pytest.fixture
def tissue(viewer, session, small_cube, show, qtbot):
    """The cube of two tissues, opened; and its labels."""
    show(small_cube[0])
    strokes = viewer.layers["two tissues strokes"]
    qtbot.waitUntil(lambda: viewer.layers.selection.active == strokes, timeout=LONG_MS)
    return small_cube


@pytest.fixture
def halves():
    """Sparse labels of the two tissues, of the size of the cube."""
    labels = np.zeros((48, 64), np.int32)
    labels[::6, 4:28] = 1
    labels[::6, 36:60] = 2
    return labels


def shown(dock, kind):
    """Return the texts of the visible buttons of an offer."""
    row = dock.findChild(kind)
    buttons = row.findChildren(QPushButton)
    return [each.text() for each in buttons if each.text() != "✕" and each.isVisible()]


def sentences(dock, kind):
    texts = dock.findChild(kind).findChildren(QLabel)
    return [each.text() for each in texts if each.isVisible() and each.text()]


def click(qtbot, dock, kind, text):
    (button,) = (
        each
        for each in dock.findChild(kind).findChildren(QPushButton)
        if each.text() == text and each.isVisible()
    )
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_nothing_is_offered_for_layers_of_a_cube(viewer, dock, tissue):
    for layer in tuple(viewer.layers):
        viewer.layers.selection.active = layer
        assert not any(shown(dock, kind) for kind in (CubeOffer, StrokesOffer, TruthOffer))
    viewer.add_points(np.zeros((1, 2)))
    viewer.add_image(np.zeros((48, 64)))
    viewer.add_image(np.zeros((48, 64, 3)), rgb=True)
    assert not any(shown(dock, kind) for kind in (CubeOffer, StrokesOffer, TruthOffer))


def test_own_labels_become_strokes_and_a_map(viewer, dock, session, tissue, halves, qtbot):
    features = {"index": [0, 1, 2], "class": ["none", "fat", "muscle"]}
    mine = viewer.add_labels(halves, name="mine", features=features)
    assert shown(dock, StrokesOffer) == ["Use 'mine' as strokes"]
    expected = [round(255 * part) for part in mine.get_color(2)[:3]]

    click(qtbot, dock, StrokesOffer, "Use 'mine' as strokes")
    qtbot.waitUntil(lambda: session.segmentation is not None, timeout=LONG_MS)
    np.testing.assert_array_equal(viewer.layers["two tissues strokes"].data, halves)
    assert [each.name for each in session.classes] == ["fat", "muscle"]
    assert list(session.classes[2].colour) == expected
    assert not mine.visible  # it would cover the strokes
    assert viewer.layers.selection.active == viewer.layers["two tissues strokes"]
    assert shown(dock, StrokesOffer) == []

    dock._controller.tools.undo()
    assert not viewer.layers["two tissues strokes"].data.any()
    assert mine.data.any()


@pytest.mark.parametrize(("answer", "values"), [("Keep my classes", 2), ("Use its classes", 1)])
def test_classes_of_other_names_are_asked_about_in_the_row(
    viewer, dock, session, tissue, halves, qtbot, answer, values
):
    session.classes.rename(1, "muscle")
    session.classes.rename(2, "fat")
    viewer.add_labels(halves, name="mine", metadata={"carl": {"classes": CLASSES}})
    session.classes.replace(  # whatever opening the layer did to the table
        [LabelClass(1, "muscle", (1, 1, 1)), LabelClass(2, "fat", (2, 2, 2))]
    )
    click(qtbot, dock, StrokesOffer, "Use 'mine' as strokes")
    qtbot.waitUntil(lambda: dock.offers.pending is not None, timeout=LONG_MS)
    assert shown(dock, StrokesOffer) == ["Keep my classes", "Use its classes", "Cancel"]
    assert sentences(dock, StrokesOffer) == [
        "The classes of 'mine' (1 fat, 2 muscle) are not those of this cube."
    ]
    assert not session.strokes.any()

    click(qtbot, dock, StrokesOffer, answer)
    assert session.strokes[0, 4] == values
    assert session.classes[values].name == "fat"


def test_labels_that_do_not_fit_are_refused_in_one_sentence(
    viewer, dock, session, tissue, halves, qtbot
):
    viewer.add_labels(np.ones((40, 60), int), name="cells")
    assert sentences(dock, StrokesOffer) == ["'cells' is 40 × 60 pixels but the cube is 48 × 64."]
    assert shown(dock, StrokesOffer) == shown(dock, TruthOffer) == []

    viewer.add_labels(300 * halves, name="many")
    click(qtbot, dock, StrokesOffer, "Use 'many' as strokes")
    line = "'many' has labels from 0 to 600: strokes have values from 0 to 255."
    qtbot.waitUntil(lambda: line in sentences(dock, AnnotatePanel), timeout=LONG_MS)
    assert not session.strokes.any()


def test_a_map_is_scored_against_own_labels(viewer, dock, session, tissue, halves, qtbot):
    def line():
        return " ".join(sentences(dock, TruthOffer))

    truth = viewer.add_labels(tissue[1].astype(int), name="truth")
    click(qtbot, dock, TruthOffer, "Use 'truth' as truth")
    assert line() == "Against 'truth': waiting for a complete map."
    session.annotation.set_strokes(halves)
    qtbot.waitUntil(lambda: "accuracy" in line(), timeout=LONG_MS)
    assert line() == (
        "Against 'truth': accuracy 100 %, mIoU 1.00 (pixels without strokes; classes matched by "
        "number)"
    )
    assert "IoU of Class 1: 1.00" in dock.findChild(TruthOffer).toolTip()

    session.set_automatic(False)
    strokes = viewer.layers["two tissues strokes"]
    strokes.data[40, 10:20] = 1
    strokes.refresh()
    qtbot.waitUntil(lambda: session.segmentation_is_outdated, timeout=LONG_MS)
    assert "accuracy" not in line()

    session.segment()
    qtbot.waitUntil(lambda: "accuracy 100 %" in line(), timeout=LONG_MS)
    truth.data = np.where(truth.data == 2, 1, truth.data)
    qtbot.waitUntil(lambda: "accuracy 50 %" in line(), timeout=LONG_MS)

    viewer.layers.remove(truth)
    assert line() == ""
    assert shown(dock, TruthOffer) == []


@pytest.fixture
def folder(tmp_path):
    """A folder with a file for each of four bands, named by their wavelengths."""
    bands = np.random.default_rng(0).integers(1, 900, (4, 30, 40)).astype(np.uint16)
    bands[:, :, 20:] += 500
    path = tmp_path / "bands"
    path.mkdir()
    for nm, band in zip((450, 550, 650, 1000), bands, strict=True):
        imwrite(path / f"band_{nm}nm.tif", band)
    return path, bands


def test_a_folder_of_files_per_band_becomes_a_cube(viewer, dock, session, folder, qtbot):
    path, bands = folder
    (stack,) = viewer.open(str(path), plugin="napari")
    assert shown(dock, CubeOffer) == ["Use 'bands' as cube"]
    assert sentences(dock, CubeOffer) == ["40 × 30 px · 4 bands along the first axis"]

    click(qtbot, dock, CubeOffer, "Use 'bands' as cube")
    qtbot.waitUntil(lambda: session.cube is not None, timeout=LONG_MS)
    assert session.cube.wavelengths.tolist() == [450, 550, 650, 1000]
    np.testing.assert_array_equal(session.cube.to_numpy(), np.moveaxis(bands, 0, -1))
    qtbot.waitUntil(lambda: session.picture is not None, timeout=LONG_MS)
    assert stack in viewer.layers
    assert not stack.visible
    assert any(isinstance(layer, Image) and layer.rgb for layer in viewer.layers)
    assert any(isinstance(layer, Labels) for layer in viewer.layers)
    assert dock.findChild(WavelengthForm).isHidden()


def test_the_form_asks_for_unknown_wavelengths_of_an_array(viewer, dock, session, qtbot):
    pixels = np.random.default_rng(0).random((30, 40, 5))
    viewer.add_image(pixels, name="array", rgb=False)
    click(qtbot, dock, CubeOffer, "Use 'array' as cube")
    qtbot.waitUntil(lambda: session.cube is not None, timeout=LONG_MS)
    assert session.cube.shape == (30, 40, 5)
    assert dock.findChild(WavelengthForm).isVisible()


def test_a_file_that_is_gone_is_reported_beside_the_offer(viewer, dock, session, folder, qtbot):
    path, _ = folder
    viewer.open(str(path), plugin="napari")
    (path / "band_650nm.tif").unlink()
    click(qtbot, dock, CubeOffer, "Use 'bands' as cube")
    qtbot.waitUntil(
        lambda: (
            session.jobs.state(JobKind.OPENING) is None
            and any("cannot be read" in text for text in sentences(dock, CubePanel))
        ),
        timeout=LONG_MS,
    )
    assert session.cube is None


def choose(viewer, title):
    """Choose an entry of a submenu of napari's menu Layers."""
    submenus = [each.menu() for each in viewer.window.layers_menu.actions() if each.menu()]
    (action,) = (
        each for menu in submenus for each in menu.actions() if each.text() == f"{title} (CARL)"
    )
    action.trigger()


def test_the_menu_does_the_same(viewer, dock, session, tissue, halves, qtbot):
    viewer.add_labels(halves, name="mine")
    choose(viewer, "Compare the map with labels")
    assert dock.offers.truth.labels.name == "mine"
    choose(viewer, "Use labels as strokes")
    qtbot.waitUntil(lambda: session.strokes.any(), timeout=LONG_MS)

    viewer.add_image(np.random.default_rng(0).random((4, 30, 40)), name="stack")
    choose(viewer, "Use image as spectral cube")
    qtbot.waitUntil(lambda: len(session.cubes) == 2, timeout=LONG_MS)
    assert session.cube.shape == (30, 40, 4)


def test_the_menu_opens_the_dock_and_explains_what_to_select(viewer, small_cube, show, no_network):
    show(small_cube[0])
    viewer.add_labels(np.ones((40, 60), int), name="cells")
    with notification_manager:
        n_before = len(notification_manager.records)
        choose(viewer, "Use labels as strokes")
        (shown_now,) = notification_manager.records[n_before:]
    assert shown_now.message == "'cells' is 40 × 60 pixels but the cube is 48 × 64."
    _, dock = viewer.window.add_plugin_dock_widget("napari-carl", "CARL")
    assert dock.offers.problem == shown_now.message
