"""Selection of the labelled pixels that a segmenter is fitted to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from carl.errors import LabelError
from carl.learning.discriminant_mixture import LabelledPixels
from carl.learning.features import FeatureStack

BLOCK = 32
"""Side in pixels of the blocks of labels that are held out together: wider than the neighbourhoods
of most features, so that a held-out pixel is not predicted from its neighbour."""
_MOST_PER_BLOCK = 8
"""Pixels taken from one block of one class."""
_MOST_BLOCKS = 250
"""Blocks per class; of more, this many are chosen evenly."""


def sample_labelled_pixels(
    stacks: Sequence[FeatureStack], labels: Sequence[NDArray[np.integer]], values: Sequence[int]
) -> LabelledPixels:
    """Take a few pixels of every labelled block, so that long strokes do not outweigh short ones.

    Neighbouring pixels are nearly copies of each other. So a block of `BLOCK` × `BLOCK` pixels
    gives at most a few, and m pixels of a block have a total weight of √m. `values` are the labels
    of the classes, in the order of their indices; stacks and (H, W) labels are those of each cube.

    Raises:
        LabelError: a class has no labelled pixel where its cube has data.
    """
    features, classes, blocks, strokes, weights = [], [], [], [], []
    offset = n_strokes = 0
    for stack, label_map in zip(stacks, labels, strict=True):
        blocks_across = -(-stack.shape[1] // BLOCK)
        for index, value in enumerate(values):
            usable = label_map == value
            if stack.valid is not None:
                usable &= stack.valid
            rows, columns = np.nonzero(usable)
            of_pixels = n_strokes + stroke_numbers(rows, columns)
            n_strokes = int(of_pixels.max(initial=n_strokes - 1)) + 1
            numbers = (rows // BLOCK) * blocks_across + columns // BLOCK
            chosen = _thinned(numbers, np.random.default_rng(value))
            rows, columns, numbers = rows[chosen], columns[chosen], numbers[chosen]
            _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
            features.append(stack.at(rows, columns))
            classes.append(np.full(len(rows), index))
            blocks.append(numbers + offset)
            strokes.append(of_pixels[chosen])
            weights.append(1 / np.sqrt(counts[inverse]) if len(rows) else np.empty(0))
        offset += (-(-stack.shape[0] // BLOCK)) * blocks_across
    indices = np.concatenate(classes)
    missing = [value for i, value in enumerate(values) if not np.any(indices == i)]
    if missing:
        raise LabelError(
            f"Class {missing[0]} is labelled only where the cube has no data: label some pixels of "
            "it elsewhere."
        )
    return LabelledPixels(
        np.concatenate(features).astype(np.float64),
        indices,
        indices,
        np.concatenate(blocks),
        np.concatenate(strokes),
        np.concatenate(weights),
    )


def stroke_numbers(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.intp]:
    """Number the strokes, which are 8-connected pixels, from 0.

    Only the labelled pixels are visited, a run at a time, as strokes cover little of a large cube.

    Args:
        rows: (n,) of the pixels, sorted by row and then by column.
        columns: (n,).

    Returns:
        (n,) number of the stroke of each pixel.
    """
    width = int(columns.max(initial=0)) + 3  # one free column on both sides
    pixels = rows * width + columns + 1
    is_first = np.diff(pixels, prepend=-2) > 1
    runs = np.cumsum(is_first) - 1
    first, last = pixels[is_first], pixels[np.append(is_first[1:], True)[: len(pixels)]]
    # Runs of the next row that begin before the end of a run and end after its beginning touch it.
    start = np.searchsorted(last, first + width - 1, "left")
    stop = np.searchsorted(first, last + width + 1, "right")
    n_touching = np.maximum(stop - start, 0)
    above = np.repeat(np.arange(len(first)), n_touching)
    below = np.arange(len(above)) - np.repeat(
        np.cumsum(n_touching) - n_touching - start, n_touching
    )
    touching = coo_array((np.ones(len(above), bool), (above, below)), (len(first), len(first)))
    numbers: NDArray[np.intp] = connected_components(touching, directed=False)[1][runs]
    return numbers


def _thinned(numbers: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    """Return indices of at most `_MOST_PER_BLOCK` pixels of at most `_MOST_BLOCKS` blocks."""
    present = np.unique(numbers)
    if len(present) > _MOST_BLOCKS:
        present = present[np.linspace(0, len(present) - 1, _MOST_BLOCKS).astype(int)]
    order = generator.permutation(len(numbers))
    order = order[np.isin(numbers[order], present)]
    order = order[np.argsort(numbers[order], kind="stable")]
    starts = np.searchsorted(numbers[order], numbers[order])
    return np.sort(order[np.arange(len(order)) - starts < _MOST_PER_BLOCK])
