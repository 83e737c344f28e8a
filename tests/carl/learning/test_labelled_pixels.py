from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from carl.errors import LabelError
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.labelled_pixels import BLOCK, sample_labelled_pixels, stroke_numbers


def stack(shape: tuple[int, int] = (64, 80), valid: np.ndarray | None = None) -> FeatureStack:
    """Return a stack whose only feature is the number of the pixel."""
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(*shape, 1)
    return FeatureStack(shape, (FeatureMap("number", values, 1),), valid)


def test_few_pixels_are_all_taken_with_weight_one():
    labels = np.zeros((64, 80), np.uint8)
    labels[3, 3], labels[3, 40], labels[50, 3] = 1, 1, 7
    pixels = sample_labelled_pixels([stack()], [labels], [1, 7])
    assert sorted(pixels.features[:, 0]) == [3 * 80 + 3, 3 * 80 + 40, 50 * 80 + 3]
    assert pixels.classes.tolist() == [0, 0, 1]
    assert pixels.weights.tolist() == [1, 1, 1]
    assert len(set(pixels.blocks)) == 3


def test_large_areas_are_thinned_block_by_block():
    labels = np.full((64, 80), 1, np.uint8)
    labels[0, 0] = 2
    pixels = sample_labelled_pixels([stack()], [labels], [1, 2])
    _, counts = np.unique(pixels.blocks[pixels.classes == 0], return_counts=True)
    assert len(counts) == -(-64 // BLOCK) * -(-80 // BLOCK)
    assert counts.max() <= 8
    np.testing.assert_allclose(pixels.weights[pixels.classes == 0], 1 / np.sqrt(8))


def test_equal_labels_give_equal_pixels():
    labels = (np.random.default_rng(0).random((64, 80)) < 0.3) + np.uint8(1)
    one, other = (sample_labelled_pixels([stack()], [labels], [1, 2]) for _ in range(2))
    np.testing.assert_array_equal(one.features, other.features)


def test_blocks_and_strokes_of_two_cubes_are_different():
    labels = np.zeros((64, 80), np.uint8)
    labels[0, 0], labels[40, 40] = 1, 2
    pixels = sample_labelled_pixels([stack(), stack()], [labels, labels], [1, 2])
    assert len(set(pixels.blocks)) == len(set(pixels.strokes)) == 4


def test_a_stroke_is_connected_labels_of_one_class():
    labels = np.zeros((64, 80), np.uint8)
    labels[3, 3:70], labels[4, 3:70] = 1, 2
    labels[40, 3:6], labels[41, 6:9] = 1, 1  # touch at a corner
    pixels = sample_labelled_pixels([stack()], [labels], [1, 2])
    numbers = pixels.features[:, 0].astype(int)
    of_row = {row: set(pixels.strokes[numbers // 80 == row]) for row in (3, 4, 40, 41)}
    assert all(len(each) == 1 for each in of_row.values())
    assert of_row[40] == of_row[41]
    assert len(set(pixels.strokes)) == 3


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_strokes_are_the_connected_components(mask):
    expected, n = ndimage.label(mask, np.ones((3, 3)))
    rows, columns = np.nonzero(mask)
    numbers = stroke_numbers(rows, columns)
    assert len(set(zip(numbers, expected[mask], strict=True))) == n == len(set(numbers))


def test_labels_without_data_are_left_out():
    valid = np.ones((64, 80), bool)
    valid[:, :40] = False
    labels = np.zeros((64, 80), np.uint8)
    labels[5, 5], labels[5, 60], labels[6, 61] = 1, 1, 2
    assert len(sample_labelled_pixels([stack(valid=valid)], [labels], [1, 2]).classes) == 2
    labels[5, 60] = 0
    with pytest.raises(LabelError, match="Class 1 is labelled only where the cube has no data"):
        sample_labelled_pixels([stack(valid=valid)], [labels], [1, 2])
