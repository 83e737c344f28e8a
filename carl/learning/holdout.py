"""Put strokes aside to learn honestly how well the others generalise.

Pixels of one stroke are nearly copies of one another, so a random choice of pixels would test on
what it trained on: strokes are held out whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from carl.errors import LabelError

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
_MOST_HELD = 0.6
"""Share of the pixels of a class that whole strokes may take from training."""
_LEAST_OF_SHARE = 1 / 3
"""With less than this part of what was asked for, the largest stroke is cut."""


def split_strokes(
    labels: ArrayLike, seed: int = 0, *, share: float = 0.3
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Split strokes into some to train on and some to hold out.

    A stroke is a connected component of one class. Of every class, whole strokes are held out,
    chosen at random, until they have `share` of its pixels. Where that cannot be had without losing
    most of the class, because it has one stroke or one that outweighs the others, its largest
    stroke is cut once, across its long side. Every class keeps at least one pixel in training; a
    class of one pixel has nothing held out.

    Args:
        labels: (H, W) integers, 0 = unlabelled.
        seed: of the choice.
        share: of the pixels of each class to hold out, about.

    Returns:
        training labels and held-out labels, both (H, W) of the type of `labels`. They are disjoint
        and together they are `labels`.

    Raises:
        LabelError: not a two-dimensional map of integers, or nothing is labelled.
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise LabelError(
            f"Labels of shape {array.shape} and type {array.dtype} are not a label map: give "
            "(height, width) whole numbers, 0 = unlabelled."
        )
    classes = np.unique(array[array != 0])
    if classes.size == 0:
        raise LabelError("Nothing is labelled: paint some strokes first.")
    random = np.random.default_rng(seed)
    held = np.zeros(array.shape, bool)
    for value in classes:
        strokes, _ = ndimage.label(array == value, structure=_EIGHT_NEIGHBOURS)
        sizes = np.bincount(strokes.ravel())
        sizes[0] = 0
        chosen = _whole_strokes(sizes, share, random)
        held |= np.isin(strokes, chosen)
        if sizes[chosen].sum() < _LEAST_OF_SHARE * share * sizes.sum():
            held[_far_end(np.nonzero(strokes == sizes.argmax()), share, random)] = True
    return np.where(held, 0, array), np.where(held, array, 0)


def _whole_strokes(
    sizes: NDArray[np.intp], share: float, random: np.random.Generator
) -> list[np.intp]:
    """Numbers of strokes to hold out whole; sizes[0] is the background's."""
    total = sizes.sum()
    chosen: list[np.intp] = []
    count = 0
    for stroke in 1 + random.permutation(sizes.size - 1):
        if count >= share * total:
            break
        if count + sizes[stroke] <= _MOST_HELD * total:
            chosen.append(stroke)
            count += sizes[stroke]
    return chosen


def _far_end(
    pixels: tuple[NDArray[np.intp], ...], share: float, random: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of about `share` of the pixels, at one end of their long axis."""
    rows, columns = pixels
    points = np.stack(pixels, axis=1).astype(np.float64)
    points -= points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    along = points @ axes[:, -1] * random.choice([-1.0, 1.0])
    n_held = min(max(1, round(share * rows.size)), rows.size - 1)
    chosen = np.argsort(along, kind="stable")[rows.size - n_held :]
    return rows[chosen], columns[chosen]
