"""Array types, checks and index arithmetic shared by all packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def mirror_indices(positions: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Return indices into an axis for positions beyond its ends, mirrored at the border pixels.

    >>> mirror_indices(np.arange(-2, 5), 3)
    array([2, 1, 0, 1, 2, 1, 0])

    Args:
        positions: integers, at any distance from the axis.
        length: of the axis, pixels.
    """
    period = max(2 * (length - 1), 1)
    inside = positions % period
    return np.minimum(inside, period - inside)


def check_arrays(arrays: Mapping[str, NDArray[Any]], axes: Mapping[str, str]) -> dict[str, int]:
    """Check that arrays read from a file have shapes that fit each other, and finite numbers.

    >>> arrays = {"mean": np.zeros(5), "basis": np.zeros((5, 2))}
    >>> check_arrays(arrays, {"mean": "D", "basis": "D k"})
    {'D': 5, 'k': 2}

    Args:
        arrays: by name; others than those of `axes` are ignored.
        axes: names of the axes of each array, separated by spaces; axes of one name are of one
            length.

    Returns:
        length of each axis, which is never 0.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has another number of axes, another length, or numbers that are not
            finite.
    """
    lengths: dict[str, int] = {}
    for name, listed in axes.items():
        array, expected = arrays[name], listed.split()
        found = dict(zip(expected, array.shape, strict=False))
        shape = tuple(lengths.get(axis, found.get(axis)) for axis in expected)
        if array.shape != shape or 0 in shape:
            raise ValueError(f"{name} has the shape {array.shape}, which should be ({listed})")
        if array.dtype.kind not in "fbiu" or not np.all(np.isfinite(array)):
            raise ValueError(f"{name} holds values that are not finite numbers")
        lengths |= found
    return lengths
