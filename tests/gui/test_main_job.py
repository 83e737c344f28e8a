"""The main task from end to end, with mouse and keyboard: cube, strokes, map, files."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from carl.files import resource_path
from carl.io import read_labels
from napari_carl.jobs import JobKind

LUMEN, STROMA = 1, 3  # in the labels of the sample


def has_whole_map(session):
    """Return whether the map of the whole cube is complete."""
    result, state = session.segmentation, session.jobs.state(JobKind.SEGMENTING)
    return result is not None and not result.is_preview and state is None


def test_strokes_on_a_cube_lead_to_exported_labels(viewer, dock, user, qtbot, tmp_path):
    session = dock.session
    viewer.open_sample("napari-carl", "bladder")
    wanted = ["bladder", "bladder colour", "bladder strokes"]
    qtbot.waitUntil(lambda: [layer.name for layer in viewer.layers] == wanted)
    qtbot.waitUntil(lambda: viewer.layers.selection.active is viewer.layers["bladder strokes"])
    assert session.cube.shape == (676, 844, 40)

    user.press(Qt.Key.Key_1)
    user.paint((480, 640), (488, 600), (494, 570))
    user.press(Qt.Key.Key_2)
    user.paint((430, 310), (445, 330), (470, 350))
    qtbot.waitUntil(lambda: has_whole_map(session))

    strokes = viewer.layers["bladder strokes"].data
    assert set(np.unique(strokes)) == {0, 1, 2}
    assert session.counts == {value: int((strokes == value).sum()) for value in (1, 2)}
    # The map is right in labelled regions without strokes.
    truth = read_labels(resource_path("sample", "bladder_labels.png")).labels
    labels = viewer.layers["bladder map"].data
    assert labels.shape == truth.shape
    for painted, labelled in ((1, LUMEN), (2, STROMA)):
        others = (truth == labelled) & (strokes == 0)
        assert (labels[others] == painted).mean() > 0.95
    # The map never changes the strokes.
    assert not np.shares_memory(labels, strokes)
    assert (strokes != 0).mean() < 0.01

    # From here on with the features of the network.
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.EMBEDDING) is None)
    qtbot.waitUntil(lambda: has_whole_map(session))
    before, painted = session.segmentation, strokes.copy()
    user.press(Qt.Key.Key_1)
    user.paint((430, 330), (470, 380))
    qtbot.waitUntil(lambda: session.segmentation is not before)
    wrong = session.segmentation

    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(viewer.layers["bladder strokes"].data, painted)
    qtbot.waitUntil(lambda: session.segmentation is not wrong)
    qtbot.waitUntil(lambda: has_whole_map(session))
    agreement = viewer.layers["bladder map"].data == before.labels
    assert agreement.mean() > 0.99

    session.export(tmp_path)
    qtbot.waitUntil(lambda: bool(session.exported_files))
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


def test_network_features_are_used_and_fine_tuning_is_kept_only_if_better(
    viewer, dock, small_cube, qtbot, tmp_path, show
):
    session, (cube, truth) = dock.session, small_cube
    show(cube)
    qtbot.waitUntil(lambda: session.embedding is not None)
    strokes = viewer.layers["two tissues strokes"]
    strokes.data[::6, 4:28] = 1
    strokes.data[::6, 36:60] = 2
    strokes.refresh()
    qtbot.waitUntil(lambda: session.segmentation is not None)
    assert session.segmentation.predictor.uses_network
    assert (viewer.layers["two tissues map"].data == truth).mean() > 0.98

    session.show_embedding()
    qtbot.waitUntil(lambda: "two tissues embedding" in viewer.layers)
    assert viewer.layers["two tissues embedding"].data.shape == (48, 64, 3)

    model = session.network.model
    session.fine_tune("last_blocks", steps=6)
    qtbot.waitUntil(lambda: session.fine_tuning.result is not None)
    result = session.fine_tuning.result
    assert result.kept == (result.score_after > result.score_before)
    assert len(session.fine_tuning.steps) > 1
    if not result.kept:
        assert session.network.model is model

    path = tmp_path / "two.carl"
    session.save_predictor(path)
    qtbot.waitUntil(path.is_file)
    qtbot.waitUntil(lambda: session.jobs.state(JobKind.SEGMENTING) is None)
    before = session.segmentation
    session.load_predictor(path)
    qtbot.waitUntil(lambda: session.segmentation is not before)
    assert (viewer.layers["two tissues map"].data == truth).mean() > 0.98
