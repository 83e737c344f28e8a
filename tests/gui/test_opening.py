"""The first step with files that may be several cubes, hold labels, or have shifted bands."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from napari_carl.jobs import JobKind
from napari_carl.panels.opening import Assumptions, ChoiceForm, FileOffer

PIXELS = np.random.default_rng(0).integers(0, 999, (40, 48, 5)).astype(np.uint16)


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def session(dock, no_network):
    return dock.session


def test_a_dropped_file_of_several_cubes_is_opened_after_a_choice(
    dock, viewer, session, tmp_path, qtbot
):
    path = tmp_path / "two.npz"
    labels = np.arange(40 * 48).reshape(40, 48) % 3
    np.savez(path, left=PIXELS, right=PIXELS[::-1], truth=labels)
    form, offer = dock.findChild(ChoiceForm), dock.findChild(FileOffer)
    assert form.isHidden()
    viewer.open(str(path), plugin="napari-carl")
    assert not viewer.layers
    assert not form.isHidden()
    assert "holds several cubes" in form.text.text()
    assert [form.choice.itemText(i) for i in range(2)] == [
        "left (40 × 48 × 5)",
        "right (40 × 48 × 5)",
    ]
    form.choice.setCurrentIndex(1)
    press(qtbot, form.open)
    qtbot.wait_for_jobs(session, JobKind.OPENING)
    assert form.isHidden()
    np.testing.assert_array_equal(session.cube.to_numpy(), PIXELS[::-1])
    assert dock.findChild(Assumptions).text.text().startswith("The array right was read")
    assert offer.labels[0].text() == "Open 'truth'"
    assert offer.labels[1].isHidden()
    assert offer.register.isHidden()
    press(qtbot, offer.labels[0])
    qtbot.wait_for_jobs(session, JobKind.READING_LABELS)
    np.testing.assert_array_equal(viewer.layers["two truth"].data, labels)


def test_the_bands_of_a_folder_are_registered(dock, viewer, session, tmp_path, qtbot):
    scene = np.random.default_rng(1).random((60, 64))
    for number, shift in enumerate((0, 3, 5)):
        tifffile.imwrite(tmp_path / f"b_{number}.tif", np.roll(scene, shift, 1))
    viewer.open(str(tmp_path), plugin="napari-carl")
    qtbot.waitUntil(lambda: session.cube is not None)
    offer = dock.findChild(FileOffer)
    assert not offer.register.isHidden()
    press(qtbot, offer.register)
    qtbot.wait_for_jobs(session, JobKind.OPENING)
    assert session.cube.shape == (60, 59, 3)
    assert offer.register.isHidden()
    assert "registered" in session.cube.metadata["notes"][-1]
