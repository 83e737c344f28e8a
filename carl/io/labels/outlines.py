"""Outlines of the regions of a label map as polygons along the sides of pixels, and back.

Coordinates are (x, y) in pixels; the first pixel covers 0..1 in both. An outline that was traced is
filled again without loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.errors import LabelError

Ring = list[list[int]]
"""[x, y] of the corners of a closed line, the first one repeated at the end."""

_HEADINGS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Row and column steps along the top, right, bottom and left side of a pixel, clockwise."""
_STARTS = ((0, 0), (0, 1), (1, 1), (1, 0))
"""Row and column of the corner where each side starts, relative to the pixel."""
_MAX_COVERAGE = 64
"""Most times that shapes may cover the whole image: each pixel of a shape takes time."""
_MIN_PIXELS = 1 << 22
"""Pixels that shapes may cover whatever the size of the image."""
_BATCH_CORNERS = 1 << 16
"""Corners of polygons that are filled together."""


@dataclass(frozen=True, eq=False)
class Region:
    """A connected region: its value, and its outline followed by those of its holes."""

    value: int
    rings: list[Ring] = field(default_factory=list)


def trace_regions(labels: NDArray[Any]) -> list[Region]:
    """Return the regions of the pixels that have one label and touch at their sides.

    No line crosses or touches itself, so that the polygons are valid. Outlines are clockwise on
    the screen, where y points down, and holes the other way.

    Args:
        labels: (H, W) whole numbers; 0 is left out.
    """
    from skimage.measure import label

    components = np.asarray(label(labels, background=0, connectivity=1))
    (row, column, side), following = _sides(components)
    corners = np.stack([column, row], axis=1) + np.array(_STARTS)[side][:, ::-1]
    regions: dict[int, Region] = {}
    holes: list[tuple[int, Ring]] = []
    for ring, index in _rings(corners, side, following):
        number = int(components[row[index], column[index]])
        if _doubled_area(ring) > 0:
            regions[number] = Region(int(labels[row[index], column[index]]), [ring])
        else:
            holes.append((number, ring))
    for number, ring in holes:
        regions[number].rings.append(ring)
    return [regions[number] for number in sorted(regions)]


class Canvas:
    """A label map of a known size onto which shapes are filled, later ones over earlier ones.

    Args:
        path: file of the shapes, for messages.
        shape: height and width, which were checked.
        by_columns: store the pixels of a column beside each other, for `fill_columns`.
    """

    def __init__(self, path: Path, shape: tuple[int, int], *, by_columns: bool = False) -> None:
        self.labels: NDArray[np.uint16] = np.zeros(shape, np.uint16, "F" if by_columns else "C")
        self._path = path
        self._left = max(_MIN_PIXELS, _MAX_COVERAGE * shape[0] * shape[1])

    def fill_polygons(self, polygons: Iterable[tuple[int, Sequence[Float64Array]]]) -> None:
        """Give values to the pixels whose centres are inside an odd number of lines of a polygon.

        Args:
            polygons: value of each, and (N, 2) x and y of the corners of its closed lines.

        Raises:
            LabelError: the shapes cover the image many times over.
        """
        for batch in _batches(polygons):
            self._fill_batch(batch)

    def fill_columns(self, value: int, counts: Iterable[int]) -> None:
        """Give a value to the second, fourth, … of consecutive runs of pixels.

        The runs go down the first column, then down the second one, and so on.

        Args:
            value: of the pixels.
            counts: number of pixels of each run, which are not more than the image has.

        Raises:
            LabelError: the shapes cover the image many times over.
        """
        columns = self.labels.T.reshape(-1)  # a view, because of the order in memory
        first, is_inside = 0, False
        for n_pixels in counts:
            if is_inside:
                self._spend(n_pixels)
                columns[first : first + n_pixels] = value
            first, is_inside = first + n_pixels, not is_inside

    def _fill_batch(self, batch: Sequence[tuple[int, Sequence[Float64Array]]]) -> None:
        rings = [ring for _, lines in batch for ring in lines]
        if not rings:
            return
        height, width = self.labels.shape
        polygon_of_ring = np.repeat(np.arange(len(batch)), [len(lines) for _, lines in batch])
        polygon = np.repeat(polygon_of_ring, [len(ring) for ring in rings])
        start = np.concatenate(rings)
        stop = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
        goes_down = (start[:, 1] <= stop[:, 1])[:, None]
        upper, lower = np.where(goes_down, start, stop), np.where(goes_down, stop, start)
        # Rows whose centre line a side crosses.
        first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
        last = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
        counts = last - first
        self._spend(int(counts.sum()))
        side = np.repeat(np.arange(len(start)), counts)
        rows = first[side] + np.arange(len(side)) - np.repeat(np.cumsum(counts) - counts, counts)
        (x0, y0), (x1, y1) = upper[side].T, lower[side].T
        x = x0 + (rows + 0.5 - y0) / (y1 - y0) * (x1 - x0)
        # The first pixel whose centre is to the right of the crossing.
        columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        order = np.lexsort((columns, rows, polygon[side]))
        # Closed lines cross each row an even number of times.
        columns, of_run = columns[order], order[::2]
        self._spend(int(np.sum(columns[1::2] - columns[::2])))
        values = np.array([value for value, _ in batch])[polygon[side[of_run]]]
        runs = (values, rows[of_run], columns[::2], columns[1::2])
        for value, row, left, right in zip(*(part.tolist() for part in runs), strict=True):
            self.labels[row, left:right] = value

    def _spend(self, n_pixels: int) -> None:
        self._left -= n_pixels
        if self._left < 0:
            raise LabelError(
                f"{self._path.name} covers the image more than {_MAX_COVERAGE} times with its "
                "shapes: it is damaged, or belongs to another image."
            )


def _batches(
    polygons: Iterable[tuple[int, Sequence[Float64Array]]],
) -> Iterator[list[tuple[int, Sequence[Float64Array]]]]:
    """Yield polygons in lists of limited numbers of corners: one at a time would be slow."""
    batch, n_corners = [], 0
    for value, lines in polygons:
        batch.append((value, lines))
        n_corners += sum(map(len, lines))
        if n_corners > _BATCH_CORNERS:
            yield batch
            batch, n_corners = [], 0
    yield batch


def _sides(
    components: NDArray[Any],
) -> tuple[tuple[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[np.intp]]:
    """Return the sides of pixels along which the component changes, and the successor of each.

    Returns:
        (row, column, side) of each, and the index of the side that continues it clockwise around
        its component.
    """
    height, width = components.shape
    padded = np.pad(components, 1)

    def neighbour(row_step: int, column_step: int) -> NDArray[Any]:
        return padded[
            1 + row_step : 1 + row_step + height, 1 + column_step : 1 + column_step + width
        ]

    is_side = np.zeros((height, width, 4), bool)
    for number in range(4):
        outside = _HEADINGS[number - 1]
        is_side[..., number] = (components != 0) & (components != neighbour(*outside))
    flat = np.flatnonzero(is_side)
    row, column, side = np.unravel_index(flat, is_side.shape)
    step = np.array(_HEADINGS)[side]
    out = np.array(_HEADINGS)[side - 1]
    own = components[row, column]
    ahead = padded[row + 1 + step[:, 0], column + 1 + step[:, 1]] == own
    diagonal = padded[row + 1 + step[:, 0] + out[:, 0], column + 1 + step[:, 1] + out[:, 1]] == own
    # Turn right where the pixel ahead is another component, else go on, else turn left.
    turns_left = ahead & diagonal
    next_row = row + np.where(ahead, step[:, 0], 0) + np.where(turns_left, out[:, 0], 0)
    next_column = column + np.where(ahead, step[:, 1], 0) + np.where(turns_left, out[:, 1], 0)
    next_side = (side + np.where(ahead, np.where(turns_left, -1, 0), 1)) % 4
    target = np.ravel_multi_index((next_row, next_column, next_side), is_side.shape)
    return (row, column, side), np.searchsorted(flat, target)


def _rings(
    corners: NDArray[np.int64], side: NDArray[Any], following: NDArray[np.intp]
) -> Iterator[tuple[Ring, int]]:
    """Yield closed lines that do not touch themselves, each with the index of one of its sides."""
    preceding = np.empty_like(following)
    preceding[following] = np.arange(len(following))
    is_straight = (side == side[preceding]).tolist()
    successors, positions = following.tolist(), corners.tolist()
    is_visited = bytearray(len(successors))
    for first in range(len(successors)):
        if is_visited[first]:
            continue
        ring, index = [], first
        while not is_visited[index]:
            is_visited[index] = 1
            if not is_straight[index]:
                ring.append(positions[index])
            index = successors[index]
        for part in _split(ring):
            yield [*part, part[0]], first


def _split(ring: Ring) -> Iterator[Ring]:
    """Split a closed line where it touches itself, and yield the parts, which do not."""
    keys = [(x, y) for x, y in ring]
    if len(set(keys)) == len(keys):
        yield ring
        return
    open_at: dict[tuple[int, int], int] = {}
    line: Ring = []
    for key, corner in zip(keys, ring, strict=True):
        if key in open_at:
            start = open_at[key]
            yield line[start:]
            for x, y in line[start:]:
                del open_at[x, y]
            del line[start:]
        open_at[key] = len(line)
        line.append(corner)
    yield line


def _doubled_area(ring: Ring) -> int:
    """Return twice the area of a closed line, positive if it is clockwise on the screen."""
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairwise(ring))
