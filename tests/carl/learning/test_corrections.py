from __future__ import annotations

import numpy as np
import pytest

from carl.errors import CubeError
from carl.io import LabelClass
from carl.learning.corrections import (
    KnownPixels,
    PredictedMap,
    join_pixels,
    mean_pixels,
    predict_map,
    stroke_pixels,
)
from carl.learning.discriminant_mixture import NO_STROKE
from carl.learning.features import FeatureMap, FeatureStack, grid_windows
from carl.learning.predictor import BoundPredictor, Prediction

CLASSES = LabelClass(2, "lumen", (9, 0, 0)), LabelClass(5, "stroma", (0, 9, 0))


def stack(shape: tuple[int, int] = (160, 200)) -> FeatureStack:
    """Return a stack whose features are the row and the column of the pixel."""
    values = np.stack(np.indices(shape), axis=2).astype(np.float32)
    return FeatureStack(shape, (FeatureMap("position", values, 1),))


class Halves(BoundPredictor):
    """Predicts class 2 left and class 5 right of the middle, most confident at the border."""

    classes = CLASSES

    def __init__(self, is_precomputed: bool, is_empty: bool = False) -> None:
        self.is_precomputed, self.is_empty = is_precomputed, is_empty
        self.windows = grid_windows((160, 200), 64)

    def predict_window(self, region, progress=lambda *_: None) -> Prediction:
        columns = np.indices((160, 200))[1][region].astype(np.float32)
        scores = np.stack([99.5 - columns, columns - 99.5], axis=2) / 100
        valid = np.zeros(columns.shape, bool) if self.is_empty else None
        return Prediction(scores, CLASSES, valid)

    def prepare_refinement(self, progress=lambda *_: None):
        raise NotImplementedError


@pytest.mark.parametrize("is_precomputed", [False, True])
@pytest.mark.parametrize("most", [1 << 20, 10_000])
def test_confident_labels_of_the_map_are_taken(is_precomputed, most, monkeypatch):
    monkeypatch.setattr("carl.learning.corrections._MAP_PIXELS", most)
    own_map = predict_map(Halves(is_precomputed), stack(), lambda *_: None)
    assert own_map.step == (1 if most > 32_000 else 2)
    assert own_map.labels.shape == (160 // own_map.step, 200 // own_map.step)
    known = own_map.confident
    assert known.values == (2, 5)
    assert (known.pixels.strokes == NO_STROKE).all()
    left = known.pixels.features[known.pixels.classes == 0]
    assert left[:, 1].max() < 80  # of columns 0..99, those near the middle are less confident
    assert len(left) > 100


def test_a_map_without_labels_is_refused():
    with pytest.raises(CubeError, match="no label on this cube"):
        predict_map(Halves(is_precomputed=True, is_empty=True), stack(), lambda *_: None)


def test_confident_labels_around_a_contradicting_stroke_are_left_out():
    own_map = predict_map(Halves(is_precomputed=True), stack(), lambda *_: None)
    strokes = np.zeros((160, 200), np.uint8)
    strokes[80, 10:20] = 5
    strokes[80, 190:199] = 5  # agrees with the map
    kept = own_map.uncontradicted(strokes).pixels
    before = own_map.confident.pixels
    row, column = before.features.T
    expected = ~((before.classes == 0) & (row >= 32) & (row < 128) & (column < 64))
    np.testing.assert_array_equal(kept.features, before.features[expected])
    assert kept.modes.tolist() == before.modes[expected].tolist()


def test_a_class_whose_labels_are_all_contradicted_is_left_out():
    labels = np.full((32, 32), 2, np.uint8)
    own_map = PredictedMap(labels, 1, stroke_pixels(stack((32, 32)), labels))
    strokes = np.zeros((32, 32), np.uint8)
    strokes[3, 3] = 5
    left = own_map.uncontradicted(strokes)
    assert left.values == ()
    joined = join_pixels([left, stroke_pixels(stack((32, 32)), strokes)])
    assert joined.values == (5,)


def test_every_stroke_is_a_mode_up_to_a_limit():
    strokes = np.zeros((160, 200), np.uint8)
    strokes[5:150:40, 10:60] = 2
    strokes[3:160:8, 100:120] = 5
    known = stroke_pixels(stack(), strokes)
    pixels = known.pixels
    assert known.values == (2, 5)
    assert np.bincount(pixels.mode_classes).tolist() == [4, 8]
    for k in (0, 1):
        rows = pixels.features[pixels.classes == k, 0]
        modes = pixels.modes[pixels.classes == k]
        assert (np.diff(modes[np.argsort(rows, kind="stable")]) >= 0).all()  # of neighbours


def test_joined_pixels_keep_their_classes_modes_blocks_and_strokes_apart():
    first = mean_pixels(np.array([[0.0, 0.0], [1.0, 1.0]]), (2, 7))
    strokes = np.zeros((160, 200), np.uint8)
    strokes[5, 5:9], strokes[60, 5:9], strokes[120, 5:9] = 7, 5, 7
    second = stroke_pixels(stack(), strokes)
    joined = join_pixels([first, second])
    pixels = joined.pixels
    assert joined.values == (2, 5, 7)
    labels = np.array(joined.values)[pixels.classes]
    assert labels.tolist()[:2] == [2, 7]
    assert sorted(labels[2:]) == [5] * 4 + [7] * 8
    assert pixels.mode_classes.tolist() == [0, 1, 2, 2, 2]
    assert (pixels.strokes[:2] == NO_STROKE).all()
    assert len(set(pixels.strokes[2:])) == 3
    assert not set(pixels.blocks[:2]) & set(pixels.blocks[2:])


def test_joining_one_part_changes_nothing():
    strokes = np.zeros((160, 200), np.uint8)
    strokes[5, 5:9], strokes[60, 5:9] = 7, 5
    known = stroke_pixels(stack(), strokes)
    again = join_pixels([known])
    assert isinstance(again, KnownPixels)
    np.testing.assert_array_equal(again.pixels.modes, known.pixels.modes)
    np.testing.assert_array_equal(again.pixels.blocks, known.pixels.blocks)
