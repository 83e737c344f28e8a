"""The main job, end to end, with the hands of a person: a cube, strokes, a map, files."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import numpy as np
from qtpy.QtCore import Qt

from carl.files import resource_path
from carl.io import read_labels
from napari_carl.jobs import JobKind

LUMEN, STROMA = 1, 3  # in the labels of the sample

LEARNING_MS = 120_000  # a busy machine takes its time


def has_whole_map(session):
    """Whether the map is there and has been drawn to the end."""
    learned, state = session.segmentation, session.jobs.state(JobKind.SEGMENTING)
    return learned is not None and not learned.is_preview and state is None


def test_from_a_cube_to_exported_labels(viewer, dock, hand, qtbot, tmp_path):
    session = dock.session
    viewer.open_sample("napari-carl", "bladder")
    qtbot.waitUntil(lambda: viewer.layers.selection.active is not None, timeout=LEARNING_MS)
    qtbot.wait(100)
    assert [layer.name for layer in viewer.layers] == [
        "bladder",
        "bladder colour",
        "bladder strokes",
    ]
    assert session.cube.shape == (676, 844, 40)

    hand.press(Qt.Key.Key_1)
    hand.paint((480, 640), (488, 600), (494, 570))
    hand.press(Qt.Key.Key_2)
    hand.paint((430, 310), (445, 330), (470, 350))
    qtbot.waitUntil(lambda: has_whole_map(session), timeout=LEARNING_MS)

    strokes = viewer.layers["bladder strokes"].data
    assert set(np.unique(strokes)) == {0, 1, 2}
    assert session.counts == {value: int((strokes == value).sum()) for value in (1, 2)}
    # The map is right about regions that were not painted on.
    truth = read_labels(resource_path("sample", "bladder_labels.png")).labels
    labels = viewer.layers["bladder map"].data
    assert labels.shape == truth.shape
    for painted, labelled in ((1, LUMEN), (2, STROMA)):
        others = (truth == labelled) & (strokes == 0)
        assert (labels[others] == painted).mean() > 0.95
    # Predictions never touch the strokes.
    assert not np.shares_memory(labels, strokes)
    assert (strokes != 0).mean() < 0.01

    # From here on with the network.
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.EMBEDDING) is None, timeout=LEARNING_MS)
    qtbot.waitUntil(lambda: has_whole_map(session), timeout=LEARNING_MS)
    before, painted = session.segmentation, strokes.copy()
    hand.press(Qt.Key.Key_1)
    hand.paint((430, 330), (470, 380))
    qtbot.waitUntil(lambda: session.segmentation is not before, timeout=LEARNING_MS)
    wrong = session.segmentation

    hand.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(viewer.layers["bladder strokes"].data, painted)
    qtbot.waitUntil(lambda: session.segmentation is not wrong, timeout=LEARNING_MS)
    qtbot.waitUntil(lambda: has_whole_map(session), timeout=LEARNING_MS)
    agreement = viewer.layers["bladder map"].data == before.labels
    assert agreement.mean() > 0.99

    session.export(tmp_path)
    qtbot.waitUntil(lambda: bool(session.exported_files), timeout=LEARNING_MS)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "bladder_labels.tif",
        "bladder_labels.png",
        "bladder_classes.json",
        "bladder_classes.csv",
        "bladder_mask_Class_1.png",
        "bladder_mask_Class_2.png",
    }
    exported = read_labels(tmp_path / "bladder_labels.tif")
    np.testing.assert_array_equal(exported.labels, viewer.layers["bladder map"].data)


def test_the_network_joins_in_and_is_tuned_only_for_the_better(
    viewer, dock, small_cube, qtbot, tmp_path, show, monkeypatch
):
    session, (cube, truth) = dock.session, small_cube
    show(cube)
    qtbot.waitUntil(lambda: session.embedding is not None, timeout=LEARNING_MS)
    strokes = viewer.layers["two tissues strokes"]
    strokes.data[::6, 4:28] = 1
    strokes.data[::6, 36:60] = 2
    strokes.refresh()
    qtbot.waitUntil(lambda: session.segmentation is not None, timeout=LEARNING_MS)
    assert session.segmentation.predictor.uses_network
    assert (viewer.layers["two tissues map"].data == truth).mean() > 0.98

    session.show_embedding()
    qtbot.waitUntil(lambda: "two tissues embedding" in viewer.layers, timeout=LEARNING_MS)
    assert viewer.layers["two tissues embedding"].data.shape == (48, 64, 3)

    module = import_module("carl.learning.finetune")
    monkeypatch.setattr(module, "finetune", partial(module.finetune, steps=6))  # 120 take long
    model = session.network.model
    session.fine_tune("head")
    qtbot.waitUntil(lambda: session.fine_tuning.result is not None, timeout=LEARNING_MS)
    result = session.fine_tuning.result
    assert result.kept == (result.score_after > result.score_before)
    assert len(session.fine_tuning.steps) > 1
    if not result.kept:
        assert session.network.model is model

    path = tmp_path / "two.carl"
    session.save_predictor(path)
    qtbot.waitUntil(path.is_file, timeout=LEARNING_MS)
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.SEGMENTING) is None, timeout=LEARNING_MS)
    before = session.segmentation
    session.load_predictor(path)
    qtbot.waitUntil(lambda: session.segmentation is not before, timeout=LEARNING_MS)
    assert (viewer.layers["two tissues map"].data == truth).mean() > 0.98
