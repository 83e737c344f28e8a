"""Split strokes into a training part and a held-out part.

Neighbouring pixels of a stroke are nearly identical, so that randomly held-out pixels would test on
training data. Strokes are therefore held out as a whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from carl.errors import LabelError

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
_MAX_HELD = 0.6
"""Largest fraction of the pixels of a class that whole strokes may take from training."""
_MIN_HELD = 1 / 3
"""If whole strokes hold out less than this part of `fraction`, the largest stroke is cut."""


def split_strokes(
    labels: ArrayLike, seed: int = 0, *, fraction: float = 0.3
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Split the strokes of a label map into training strokes and held-out strokes.

    A stroke is a connected component of one class. In every class, randomly chosen whole strokes
    are held out until they contain `fraction` of its pixels. If that would remove most of the
    class, because it has a single stroke or one much larger than the others, the largest stroke is
    cut once, across its long axis. Every class keeps at least one pixel in training; a class of one
    pixel has nothing held out.

    Args:
        labels: (H, W) integers, 0 = unlabelled.
        seed: seed of the random choice.
        fraction: approximate fraction of the pixels of each class to hold out.

    Returns:
        training labels and held-out labels, both (H, W) with the type of `labels`. They are
        disjoint, and their sum equals `labels`.

    Raises:
        LabelError: `labels` is not a two-dimensional map of integers, or nothing is labelled.

    Examples:
        >>> import numpy as np
        >>> from carl.learning import split_strokes
        >>> train, held_out = split_strokes(np.array([[1, 0, 1, 0, 1], [2, 2, 2, 2, 2]]))
        >>> (train + held_out).tolist()
        [[1, 0, 1, 0, 1], [2, 2, 2, 2, 2]]
        >>> int(np.count_nonzero(held_out[0])), int(np.count_nonzero(held_out[1]))
        (1, 2)
    """
    array = np.asarray(labels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise LabelError(
            f"Labels of shape {array.shape} and type {array.dtype} are not a label map: give "
            "(height, width) integers, 0 = unlabelled."
        )
    classes = np.unique(array[array != 0])
    if classes.size == 0:
        raise LabelError("Nothing is labelled: draw some strokes first.")
    random = np.random.default_rng(seed)
    held = np.zeros(array.shape, bool)
    for value in classes:
        strokes, _ = ndimage.label(array == value, structure=_EIGHT_NEIGHBOURS)
        sizes = np.bincount(strokes.ravel())
        sizes[0] = 0
        chosen = _choose_strokes(sizes, fraction, random)
        held |= np.isin(strokes, chosen)
        if sizes[chosen].sum() < _MIN_HELD * fraction * sizes.sum():
            held[_cut_stroke(np.nonzero(strokes == sizes.argmax()), fraction, random)] = True
    return np.where(held, 0, array), np.where(held, array, 0)


def _choose_strokes(
    sizes: NDArray[np.intp], fraction: float, random: np.random.Generator
) -> list[np.intp]:
    """Choose the numbers of the strokes to hold out; sizes[0] belongs to the background."""
    total = sizes.sum()
    chosen: list[np.intp] = []
    count = 0
    for stroke in 1 + random.permutation(sizes.size - 1):
        if count >= fraction * total:
            break
        if count + sizes[stroke] <= _MAX_HELD * total:
            chosen.append(stroke)
            count += sizes[stroke]
    return chosen


def _cut_stroke(
    pixels: tuple[NDArray[np.intp], ...], fraction: float, random: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of about `fraction` of the pixels, at one end of their long axis."""
    rows, columns = pixels
    points = np.stack(pixels, axis=1).astype(np.float64)
    points -= points.mean(axis=0)
    _, axes = np.linalg.eigh(points.T @ points)
    along = points @ axes[:, -1] * random.choice([-1.0, 1.0])
    n_held = min(max(1, round(fraction * rows.size)), rows.size - 1)
    chosen = np.argsort(along, kind="stable")[rows.size - n_held :]
    return rows[chosen], columns[chosen]
