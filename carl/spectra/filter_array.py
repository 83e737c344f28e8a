"""Cubes from raw frames of snapshot cameras, whose pixels lie under repeating filters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CubeError
from carl.wavelengths import FilterArray


def demosaic(frame: NDArray[Any], array: FilterArray) -> NDArray[Any]:
    """Return the cube of a raw frame at the resolution of whole patterns; values are not changed.

    Examples:
        >>> frame = np.arange(16).reshape(4, 4)
        >>> demosaic(frame, FilterArray(2, 2))[0, 1]
        array([2, 3, 6, 7])

    Args:
        frame: (H, W) raw values.
        array: arrangement of the filters; incomplete patterns at the borders are left out.

    Returns:
        (H // rows, W // columns, rows · columns), the bands in the order of the cells, row by row.

    Raises:
        CubeError: the frame does not hold a whole pattern.
    """
    rows, columns = array.rows, array.columns
    height = (frame.shape[0] - array.first_row) // rows
    width = (frame.shape[1] - array.first_column) // columns
    if height < 1 or width < 1:
        raise CubeError(
            f"The frame of {frame.shape[0]} × {frame.shape[1]} pixels does not hold a pattern of "
            f"{rows} × {columns} filters: choose the camera that recorded it."
        )
    top, left = array.first_row, array.first_column
    whole = frame[top : top + height * rows, left : left + width * columns]
    cells = whole.reshape(height, rows, width, columns).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(cells).reshape(height, width, rows * columns)


def demosaic_interpolated(frame: NDArray[Any], array: FilterArray) -> Float32Array:
    """Return the cube of a raw frame at the resolution of the frame, by bilinear interpolation.

    Each band is interpolated from its own pixels, so that all bands show the same place; beyond the
    outermost pixels of a band, its values are repeated.

    Args:
        frame: (H, W) raw values.
        array: arrangement of the filters.

    Returns:
        (H, W, rows · columns), the bands in the order of the cells, row by row.

    Raises:
        CubeError: the frame does not hold a whole pattern.
    """
    samples = demosaic(frame, array).astype(np.float32)
    full = np.empty((*frame.shape, samples.shape[2]), np.float32)
    for cell in range(samples.shape[2]):
        row, column = divmod(cell, array.columns)
        along_rows = _interpolation(
            frame.shape[0], array.first_row + row, array.rows, samples.shape[0]
        )
        along_columns = _interpolation(
            frame.shape[1], array.first_column + column, array.columns, samples.shape[1]
        )
        band = _interpolated(samples[..., cell], *along_rows)
        full[..., cell] = _interpolated(band.T, *along_columns).T
    return full


def _interpolation(
    length: int, first: int, step: int, n_samples: int
) -> tuple[NDArray[np.intp], Float32Array]:
    """Return for each position the sample before it, and the weight of the next one."""
    position = np.clip((np.arange(length) - first) / step, 0, n_samples - 1)
    before = np.minimum(position.astype(np.intp), max(n_samples - 2, 0))
    return before, (position - before).astype(np.float32)


def _interpolated(
    values: Float32Array, before: NDArray[np.intp], weight: Float32Array
) -> Float32Array:
    """Interpolate linearly along the first axis."""
    after = np.minimum(before + 1, len(values) - 1)
    return np.asarray(
        values[before] * (1 - weight[:, None]) + values[after] * weight[:, None], np.float32
    )
