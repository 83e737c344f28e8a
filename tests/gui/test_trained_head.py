"""A head of ``carl train`` in the dock: its map, its classes, and strokes after it."""

from __future__ import annotations

from time import sleep

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QPushButton

from carl.cube import SpectralCube
from carl.io import LabelClass, read_labels, write_cube, write_labels
from carl.learning import Segmenter, head_training
from carl.learning.head_training import trained_head
from carl.model import build_model, save_model
from napari_carl.jobs import JobKind
from napari_carl.panels.learn import LearnPanel
from napari_carl.steps import Step

CLASSES = (LabelClass(1, "fat", (250, 210, 60)), LabelClass(2, "muscle", (170, 30, 40)))


@pytest.fixture(scope="module")
def network(tmp_path_factory, quick_config):
    """A file with a small network that is trained in seconds."""
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_model(build_model(quick_config), path)
    return path


@pytest.fixture
def train_head(network, small_cube, tmp_path):
    """A function that trains a head on the two tissues and returns its file."""

    def train(head):
        cube, truth = small_cube
        write_cube(tmp_path / "two.hdr", cube)
        write_labels(tmp_path / "truth.png", truth, CLASSES)
        values = {
            "output": "two.carl", "pairs": [{"cube": "two.hdr", "labels": "truth.png"}],
            "model": str(network), "head": head, "held_out": 0, "steps": 60, "batch_size": 4,
            "crop": 16, "learning_rate": 5e-3, "network_rate": 5e-3,
        }  # fmt: skip
        config = head_training.TrainConfig.from_dict(values, tmp_path)
        head_training.train(config, device="cpu").trained.save(config.output)
        return config.output

    return train


@pytest.fixture
def session(dock, no_network):
    return dock.session


@pytest.fixture
def load(dock, qtbot, monkeypatch):
    """A function that clicks on *Load …* and chooses a file."""

    def click(path):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        qtbot.mouseClick(buttons(dock, "Load …")[0], Qt.MouseButton.LeftButton)

    return click


def buttons(dock, text):
    """Return the visible buttons of the panel with that text."""
    panel = dock.findChild(LearnPanel)
    found = panel.findChildren(QPushButton)
    return [each for each in found if each.text() == text and each.isVisibleTo(panel)]


def click(dock, qtbot, text):
    (found,) = buttons(dock, text)
    qtbot.mouseClick(found, Qt.MouseButton.LeftButton)


def is_drawn(session):
    return session.segmentation is not None and session.jobs.state(JobKind.SEGMENTING) is None


def test_trained_head_segments_the_cube_and_brings_its_classes(
    viewer, dock, session, user, load, train_head, small_cube, qtbot, show, tmp_path
):
    cube, truth = small_cube
    path = train_head("linear")
    show(cube)
    load(path)
    qtbot.waitUntil(lambda: is_drawn(session))

    expected = head_training.load_predictor(path, "cpu").predict(cube).labels
    assert (expected == truth).mean() > 0.95
    shown = viewer.layers["two tissues map"]
    np.testing.assert_array_equal(shown.data, expected)
    np.testing.assert_allclose(shown.get_color(2)[:3], np.array(CLASSES[1].colour) / 255)
    assert tuple(session.classes) == CLASSES

    session.export(tmp_path / "out")
    qtbot.waitUntil(lambda: bool(session.exported_files))
    exported = read_labels(tmp_path / "out" / "two tissues_labels.tif")
    np.testing.assert_array_equal(exported.labels, expected)
    assert exported.classes == CLASSES


@pytest.mark.parametrize("kind", ["trained head", "segmenter"])
def test_strokes_correct_a_loaded_model_and_undo_brings_its_map_back(
    viewer, dock, session, user, load, train_head, small_cube, qtbot, show, tmp_path, kind
):
    cube, truth = small_cube
    path = train_head("linear") if kind == "trained head" else tmp_path / "strokes.carl"
    if kind == "segmenter":
        Segmenter(None, classes=CLASSES).fit(cube, truth).save(path)
    # A patch of a tissue that the model was not trained on.
    pixels = cube.data.copy()
    pixels[4:17, :31] = 0.5 * pixels[4:17, :31, ::-1]
    show(SpectralCube(pixels, cube.wavelengths, name=cube.name))
    load(path)
    qtbot.waitUntil(lambda: is_drawn(session))
    before = viewer.layers["two tissues map"].data.copy()

    assert session.classes.current == 1
    session.classes.add()
    user.press(Qt.Key.Key_3)
    user.paint((10, 5), (10, 25))
    qtbot.waitUntil(lambda: session.segmentation_is_current and is_drawn(session))
    corrected = viewer.layers["two tissues map"].data.copy()
    assert (corrected[5:16, :30] == 3).mean() > 0.9
    assert (corrected[20:] == before[20:]).mean() > 0.95
    assert "refined" in session.segmentation.origin
    assert session.model.path == path

    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.segmentation_is_current and is_drawn(session))
    np.testing.assert_array_equal(viewer.layers["two tissues map"].data, before)

    click(dock, qtbot, "Unload")
    assert session.model is None
    assert not viewer.layers["two tissues map"].data.any()
    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: session.segmentation_is_current and is_drawn(session))
    np.testing.assert_array_equal(viewer.layers["two tissues map"].data, before)


def test_the_user_decides_how_the_classes_of_a_model_join_those_of_the_strokes(
    viewer, dock, session, user, load, train_head, small_cube, qtbot, show
):
    show(small_cube[0])
    session.classes.rename(1, "nerve")
    user.press(Qt.Key.Key_1)
    user.paint((10, 5), (10, 25))
    painted = session.strokes == 1

    load(train_head("linear"))
    qtbot.waitUntil(lambda: session.pending_model is not None)
    click(dock, qtbot, "Keep my classes")

    assert session.model is not None
    names = {known.name: known.value for known in session.classes}
    assert names == {"fat": 1, "muscle": 2, "nerve": 3}
    np.testing.assert_array_equal(session.strokes == names["nerve"], painted)


def test_prediction_by_a_trained_head_can_be_cancelled(
    viewer, dock, session, load, train_head, small_cube, qtbot, show, monkeypatch
):
    path = train_head("linear")
    predict_window = trained_head.BoundHead.predict_window
    predicted = []

    def predict_slowly(self, region, progress):
        while predicted:  # the second window takes until it is cancelled
            progress(0.5, "Predicting")
            sleep(0.01)
        predicted.append(region)
        return predict_window(self, region, progress)

    monkeypatch.setattr(trained_head.BoundHead, "predict_window", predict_slowly)
    show(small_cube[0])
    load(path)
    qtbot.waitUntil(lambda: session.segmentation is not None)
    assert not viewer.layers["two tissues map"].data.all()  # not complete

    qtbot.waitUntil(lambda: bool(buttons(dock, "Cancel")))
    qtbot.mouseClick(buttons(dock, "Cancel")[0], Qt.MouseButton.LeftButton)
    assert session.jobs.state(JobKind.SEGMENTING) is None
    qtbot.wait_for_threads(JobKind.SEGMENTING)
    assert not viewer.layers["two tissues map (out of date)"].data.all()


def test_classification_head_is_refused_with_a_message(
    viewer, dock, session, load, train_head, small_cube, qtbot, show, monkeypatch
):
    messages = []
    monkeypatch.setattr("napari_carl.thread_runner.show_error", messages.append)
    path = train_head("classification")
    show(small_cube[0])
    before = tuple(session.classes)

    load(path)
    qtbot.waitUntil(lambda: bool(messages))

    assert messages == [
        "two.carl classifies whole images (fat, muscle) and predicts no label map: use it with "
        "'carl predict', or load a model for segmentation."
    ]
    assert session.segmentation is None
    assert tuple(session.classes) == before
    assert "two tissues map" not in viewer.layers
    assert not dock.sections[Step.EXPORT].body.isEnabled()
