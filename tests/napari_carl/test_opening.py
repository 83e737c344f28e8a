"""Opening of files that may be several cubes, and of what belongs to a cube."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager

from napari_carl.jobs import JobKind
from napari_carl.opening import Opening
from napari_carl.readers import NO_LAYERS, get_reader, undecided_files

PIXELS = np.random.default_rng(0).integers(0, 999, (20, 24, 5)).astype(np.uint16)
LABELS = np.arange(480).reshape(20, 24) % 3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "two.npz", left=PIXELS, right=PIXELS[::-1], truth=LABELS)
    return tmp_path / "two.npz"


@pytest.fixture
def opened(session):
    """The layers that were opened, which are added to the session as a viewer does."""
    layers = []

    def add(layer):
        layers.append(layer)
        if layer[2] == "image":
            session.add_cube(layer[1]["metadata"]["carl"]["cube"])

    session.opened.connect(add)
    return layers


def test_the_user_chooses_one_of_several_cubes(session, runner, opened, path: Path):
    opening = Opening(session)
    opening.open(path)
    runner.go(JobKind.OPENING)
    assert not opened
    choices = opening.pending.error.choices
    assert [each.description for each in choices] == ["left (20 × 24 × 5)", "right (20 × 24 × 5)"]
    opening.choose(1)
    assert opening.pending is None
    runner.go(JobKind.OPENING)
    np.testing.assert_array_equal(session.cube.to_numpy(), PIXELS[::-1])


def test_choices_follow_one_another(session, runner, opened, tmp_path: Path):
    frames = np.stack([PIXELS, PIXELS + 1])
    np.savez(tmp_path / "a.npz", day=frames, night=frames[..., ::-1])
    opening = Opening(session)
    opening.open(tmp_path / "a.npz")
    runner.go(JobKind.OPENING)
    opening.choose(1)
    runner.go(JobKind.OPENING)
    values = [each.value for each in opening.pending.error.choices]
    opening.choose(values.index("0=1"))
    runner.go(JobKind.OPENING)
    np.testing.assert_array_equal(session.cube.to_numpy(), PIXELS[..., ::-1] + 1)


def test_a_choice_can_be_dropped(session, runner, opened, path: Path):
    opening = Opening(session)
    opening.open(path)
    runner.go(JobKind.OPENING)
    opening.cancel()
    opening.choose(0)
    assert opening.pending is None
    assert not opened


def test_labels_in_the_file_become_a_layer(session, runner, opened, path: Path):
    opening = Opening(session)
    opening.open(path, variable="left")
    runner.go(JobKind.OPENING)
    assert session.cube.metadata["label_variables"] == ("truth",)
    opening.open_labels("truth")
    runner.go(JobKind.READING_LABELS)
    labels, arguments, kind = opened[-1]
    assert kind == "labels"
    assert arguments["name"] == "two truth"
    np.testing.assert_array_equal(labels, LABELS)


def test_registered_bands_are_a_further_cube(session, runner, opened, tmp_path: Path):
    scene = np.random.default_rng(1).random((60, 64))
    for number, shift in enumerate((0, 3)):
        tifffile.imwrite(tmp_path / f"b_{number}.tif", np.roll(scene, shift, 1))
    opening = Opening(session)
    opening.open(tmp_path)
    runner.go(JobKind.OPENING)
    assert "unregistered" in session.cube.metadata
    opening.register()
    runner.go(JobKind.OPENING)
    assert len(session.cubes) == 2
    assert session.cube.shape == (60, 61, 2)
    first, second = np.moveaxis(session.cube.to_numpy(), -1, 0)
    np.testing.assert_array_equal(first[:, 3:], second[:, 3:])


def test_nothing_is_opened_without_a_cube(session, runner):
    opening = Opening(session)
    opening.register()
    opening.open_labels("truth")
    assert not runner.jobs


def test_a_file_dropped_on_the_window_is_passed_to_the_dock(path: Path):
    found = []
    read = get_reader(str(path))
    undecided_files.found.connect(ask := lambda *each: found.append(each))
    try:
        assert read(str(path)) == NO_LAYERS
    finally:
        undecided_files.found.disconnect(ask)
    ((asked, error),) = found
    assert asked == path
    assert error.argument == "variable"
    before = len(notification_manager.records)
    assert read(str(path)) == NO_LAYERS  # without a dock, the message states what to do
    (notification,) = notification_manager.records[before:]
    assert "variable='left'" in notification.message
