"""From strokes to the pixels a segmenter learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carl.errors import LabelError
from carl.learning.discriminant_mixture import LabelledPixels
from carl.learning.features import FeatureStack

BLOCK = 32
"""Side in pixels of the patches of paint that are left out together: wider than what most features
see at once, lest a pixel be known by its neighbour."""
_MOST_A_BLOCK = 8
_MOST_BLOCKS = 250
"""Of each class; beyond, blocks are drawn evenly from the strokes."""


def sample_labelled_pixels(
    stacks: Sequence[FeatureStack], labels: Sequence[NDArray[np.integer]], values: Sequence[int]
) -> LabelledPixels:
    """A few pixels of every painted block, so that long strokes do not drown short ones.

    Neighbouring pixels say nearly the same. So a block of `BLOCK` × `BLOCK` pixels gives at most a
    few, and m pixels of a block count as √m.

    Args:
        stacks: features of each cube.
        labels: (H, W) of each cube.
        values: labels of the classes, in the order of their indices.

    Raises:
        LabelError: a class has no painted pixel where its cube has data.
    """
    features, classes, blocks, weights = [], [], [], []
    offset = 0
    for stack, painted in zip(stacks, labels, strict=True):
        tiles_across = -(-stack.shape[1] // BLOCK)
        for index, value in enumerate(values):
            usable = painted == value
            if stack.valid is not None:
                usable &= stack.valid
            rows, columns = np.nonzero(usable)
            tiles = (rows // BLOCK) * tiles_across + columns // BLOCK
            chosen = _thinned(tiles, np.random.default_rng(value))
            rows, columns, tiles = rows[chosen], columns[chosen], tiles[chosen]
            _, inverse, counts = np.unique(tiles, return_inverse=True, return_counts=True)
            features.append(stack.at(rows, columns))
            classes.append(np.full(len(rows), index))
            blocks.append(tiles + offset)
            weights.append(1 / np.sqrt(counts[inverse]) if len(rows) else np.empty(0))
        offset += (-(-stack.shape[0] // BLOCK)) * tiles_across
    indices = np.concatenate(classes)
    missing = [value for i, value in enumerate(values) if not np.any(indices == i)]
    if missing:
        raise LabelError(
            f"Class {missing[0]} is painted only where the cube has no data: paint some of it "
            "elsewhere."
        )
    return LabelledPixels(
        np.concatenate(features).astype(np.float64),
        indices,
        np.concatenate(blocks),
        np.concatenate(weights),
    )


def _thinned(tiles: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
    """Indices of at most `_MOST_A_BLOCK` pixels of each of at most `_MOST_BLOCKS` tiles."""
    present = np.unique(tiles)
    if len(present) > _MOST_BLOCKS:
        present = present[np.linspace(0, len(present) - 1, _MOST_BLOCKS).astype(int)]
    order = generator.permutation(len(tiles))
    order = order[np.isin(tiles[order], present)]
    order = order[np.argsort(tiles[order], kind="stable")]
    starts = np.searchsorted(tiles[order], tiles[order])
    return np.sort(order[np.arange(len(order)) - starts < _MOST_A_BLOCK])
