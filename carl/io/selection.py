"""One cube from contents of more than three axes (a time, a depth), or of two (a flattened table).

**Frames.** A recording with a time or z axis is several cubes. The caller chooses one, by the index
on each further axis, as ``time=2``; the axes of files without names are numbered from 0. Which axis
is left for the bands is never guessed.

**Flattened tables.** A table of pixels × bands, or bands × pixels, becomes a cube when its height
is given. The axis of the pixels is the one that has not as many elements as there are wavelengths,
else the longer one. Rows of pixels follow each other, columns in files of MATLAB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice, product
from math import isqrt
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float64Array
from carl.errors import CubeError
from carl.io.reader import Choice, ChoiceError, FileContents
from carl.io.views import at_index, with_axis_divided
from carl.lazy_array import ArraySource

SPATIAL_AXES = ("y", "x")
"""Names of the axes of the image."""
BAND_AXES = ("channel", "sample")
"""Names of axes that are bands where there is just one of them."""
_MAX_CHOICES = 4096
"""Most frames and heights that are listed."""
_PART = re.compile(r"\s*(?:([\w ]+?)\s*=\s*)?(\d+)\s*")
_SAMPLED_BANDS = 6
_SAMPLED_PIXELS = 1 << 18
"""Bands and consecutive pixels of a table that are read to rank the heights."""


# ---- frames


def choose_frame(
    contents: FileContents, frame: int | str | None, n_known: int | None, path: Path
) -> FileContents:
    """Return the contents with three axes: at one index of each further axis.

    Args:
        contents: with any number of axes; those with fewer than four are returned as they are.
        frame: index on the further axis, or a text such as ``time=2, z=0``.
        n_known: number of known wavelengths, or None.
        path: the file, for messages.

    Raises:
        ChoiceError: there are further axes and no frame is given.
        CubeError: the frame does not exist.
    """
    shape = tuple(int(n) for n in contents.data.shape)
    if len(shape) < 4:
        if frame is not None:
            raise CubeError(f"{path.name} is a single cube, without frames: leave the frame out.")
        return contents
    names = contents.axes or tuple(str(axis) for axis in range(len(shape)))
    sets = _frame_axes(contents, names, n_known)
    if frame is None:
        axes = ", ".join(f"{name} ({n})" for name, n in zip(names, shape, strict=True))
        frames = [*islice(_frames(sets, names, shape), _MAX_CHOICES)]
        raise ChoiceError(
            f"{path.name} is several cubes, with the axes {axes}",
            "frame",
            [Choice(each, each if contents.axes else f"axis {each}") for each in frames],
        )
    chosen = _parse_frame(str(frame), sets, names, shape, path)
    data = contents.data
    for axis in sorted(chosen, reverse=True):
        data = at_index(data, axis, chosen[axis])
    remaining = [axis for axis in range(len(shape)) if axis not in chosen]
    band_axis = None
    if {*SPATIAL_AXES} < {names[axis] for axis in remaining}:
        (band,) = (axis for axis in remaining if names[axis] not in SPATIAL_AXES)
        order = (*(names.index(name) for name in SPATIAL_AXES), band)
        data = cast(Any, data).transpose([remaining.index(axis) for axis in order])
        band_axis = 2
    described = _described(chosen, names)
    return replace(
        contents,
        data=data,
        axes=(),
        band_axis=band_axis,
        metadata={**contents.metadata, "frame": described},
        notes=(*contents.notes, f"The cube is the frame {described} of the file."),
    )


def _frame_axes(
    contents: FileContents, names: Sequence[str], n_known: int | None
) -> list[tuple[int, ...]]:
    """Return the sets of axes on which an index can be chosen, so that three axes remain."""
    n_axes = len(names)
    if contents.axes:
        bands = [axis for axis, name in enumerate(names) if name in BAND_AXES]
        fixed = bands if len(bands) == 1 else []
        free = [
            axis
            for axis, name in enumerate(names)
            if name not in SPATIAL_AXES and axis not in fixed
        ]
    elif contents.flattened == "F":  # MATLAB's further axes are the last ones
        free = [*range(n_axes - 1, 2, -1), 0]
    else:
        free = [*range(n_axes - 3), n_axes - 1]
    others = [axis for axis in free if contents.data.shape[axis] != n_known]
    if len(others) == len(free) - 1 == n_axes - 3:  # the one left out is that of the bands
        free = others
    return [*combinations(free, n_axes - 3)]


def _frames(
    sets: Sequence[tuple[int, ...]], names: Sequence[str], shape: Sequence[int]
) -> Iterator[str]:
    for axes in sets:
        for indices in product(*(range(shape[axis]) for axis in axes)):
            yield _described(dict(zip(axes, indices, strict=True)), names)


def _described(chosen: dict[int, int], names: Sequence[str]) -> str:
    return ", ".join(f"{names[axis]}={index}" for axis, index in chosen.items())


def _parse_frame(
    frame: str,
    sets: Sequence[tuple[int, ...]],
    names: Sequence[str],
    shape: Sequence[int],
    path: Path,
) -> dict[int, int]:
    """Return the index on each chosen axis."""
    parts = [_PART.fullmatch(part) for part in frame.split(",")]
    example = next(_frames(sets, names, shape))
    unclear = CubeError(
        f"{path.name} has no frame '{frame}': write the index on each further axis, as {example}."
    )
    if None in parts or not sets:
        raise unclear
    named = [(part[1], int(part[2])) for part in parts if part is not None]
    if all(name is None for name, _ in named) and len(named) == len(sets[0]) and len(sets) == 1:
        chosen = {axis: index for axis, (_, index) in zip(sets[0], named, strict=True)}
    elif all(name in names for name, _ in named):
        chosen = {names.index(name): index for name, index in named}
    else:
        raise unclear
    if len(chosen) != len(names) - 3 or sum(names[axis] in SPATIAL_AXES for axis in chosen):
        raise unclear
    for axis, index in chosen.items():
        if index >= shape[axis]:
            raise CubeError(
                f"{path.name} has {shape[axis]} frames on the axis {names[axis]}: choose one from "
                f"0 to {shape[axis] - 1}."
            )
    return chosen


# ---- tables


def unflatten(
    contents: FileContents, height: int | None, n_known: int | None, path: Path
) -> FileContents:
    """Return a table of pixels × bands, or bands × pixels, as a cube of a given height.

    Args:
        contents: with any number of axes; those with others than two are returned as they are.
        height: number of rows of the image.
        n_known: number of known wavelengths, or None.
        path: the file, for messages.

    Raises:
        ChoiceError: it may be a table and no height is given.
        CubeError: the height does not divide the number of pixels, or it is no table.
    """
    shape = tuple(int(n) for n in contents.data.shape)
    if len(shape) != 2 or 0 in shape:
        if height is not None:
            raise CubeError(f"{path.name} is not a flattened table: leave the height out.")
        return contents
    is_table = height is not None or contents.flattened is not None
    if not is_table or np.dtype(contents.data.dtype).kind not in "biuf":
        return contents  # carl.io.assembly refuses it
    pixel_axis = int(
        shape[0] == n_known != shape[1] or (n_known not in shape and shape[1] > shape[0])
    )
    n_pixels, n_bands = shape[pixel_axis], shape[1 - pixel_axis]
    data = contents.data if pixel_axis == 0 else cast(Any, contents.data).transpose((1, 0))
    is_by_columns = contents.flattened == "F"
    if height is None:
        raise ChoiceError(
            f"{path.name} holds a two-dimensional image, {shape[0]} × {shape[1]}, which is no "
            f"cube, or a table of {n_pixels} pixels with {n_bands} bands, whose height is needed",
            "height",
            _ranked_heights(data, is_by_columns),
        )
    if height < 1 or n_pixels % height:
        near = sorted(_divisors(n_pixels), key=lambda each: abs(each - height))[:4]
        listed = ", ".join(map(str, sorted(near)))
        raise CubeError(
            f"{path.name} has {n_pixels} pixels, which {height} does not divide: give a height "
            f"that does, such as {listed}."
        )
    width = n_pixels // height
    divided = (
        cast(Any, with_axis_divided(data, width, height)).transpose((1, 0, 2))
        if is_by_columns
        else with_axis_divided(data, height, width)
    )
    order = "columns" if is_by_columns else "rows"
    note = (
        f"The table of {n_pixels} pixels with {n_bands} bands is an image of {height} × {width} "
        f"pixels, whose {order} follow each other."
    )
    return replace(contents, data=divided, band_axis=2, notes=(*contents.notes, note))


def _ranked_heights(data: ArraySource, is_by_columns: bool) -> list[Choice]:
    """Return the possible heights of a table of (pixels, bands), the most continuous first."""
    n_pixels = int(data.shape[0])
    lengths = [n for n in _divisors(n_pixels) if 1 < n < n_pixels] or [n_pixels]
    scores = continuity(_sample(data), lengths)
    ranked = sorted(zip(lengths, scores, strict=True), key=lambda each: -each[1])
    choices = []
    for length, score in ranked[:_MAX_CHOICES]:
        height, width = n_pixels // length, length
        if is_by_columns:
            height, width = width, height
        choices.append(Choice(height, f"{height} × {width} (continuity {score:.2f})"))
    return choices


def continuity(values: Float64Array, lengths: Sequence[int]) -> list[float]:
    """Return how continuous an image is across its rows, for possible lengths of a row.

    At the true length, a pixel resembles the one a row further more than those a few pixels before
    and after that one. The score is the correlation at a distance of a row, minus the mean of those
    at distances that are larger and smaller by a few pixels.

    Args:
        values: (pixels, bands), rows of the image one after the other.
        lengths: possible lengths of a row, in pixels.

    Returns:
        a score for each length, at most 1; -1 for lengths of more than half of the pixels.
    """
    n_pixels = len(values)
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    centred = centred[:, spread > 0] / spread[spread > 0]
    if centred.size == 0:
        return [0.0] * len(lengths)
    size = 1 << (2 * n_pixels - 1).bit_length()
    power = (np.abs(np.fft.rfft(centred, size, axis=0)) ** 2).mean(axis=1)
    products = np.fft.irfft(power, size)[:n_pixels]
    correlation = products / n_pixels  # smaller for long rows, of which there are few
    scores = []
    for length in lengths:
        if 2 * length > n_pixels:
            scores.append(-1.0)
            continue
        step = max(1, min(_NEIGHBOURS, length // 3))
        beside = (correlation[length - step] + correlation[length + step]) / 2
        scores.append(float(correlation[length] - beside))
    return scores


_NEIGHBOURS = 5
"""Distance in pixels of the pixels with which one that is a row further is compared."""


def _sample(data: ArraySource) -> Float64Array:
    """Read the first pixels of a few bands of a table of (pixels, bands); 0 where not finite."""
    n_pixels, n_bands = data.shape
    step = max(1, n_bands // _SAMPLED_BANDS)
    bands = slice(step // 2, None, step)
    values: NDArray[Any] = np.asarray(data[: min(n_pixels, _SAMPLED_PIXELS), bands])
    return np.asarray(np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0))


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, isqrt(number) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)})
