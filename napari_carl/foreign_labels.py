"""Labels of other origin than the strokes: their classes, their use as strokes and as truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import LabelError
from carl.io import LabelClass, default_colour
from carl.metrics import Scores, evaluate
from napari_carl.classes import default_name

_HIGHEST_VALUE = 255
"""Highest value of a class in strokes."""


@dataclass(frozen=True, eq=False)
class ForeignLabels:
    """Labels in a layer of the user.

    Attributes:
        layer: the layer, compared by ``==``.
        name: name of the layer.
        pixels: array-like of integers, 0 = unlabelled.
        classes: the classes whose names are known.
    """

    layer: Any
    name: str
    pixels: Any
    classes: tuple[LabelClass, ...] = ()

    def problem(self, shape: tuple[int, int]) -> str:
        """Return why they do not fit a cube of a (height, width), in a sentence; empty if they do.

        Examples:
            >>> import numpy as np
            >>> ForeignLabels(None, "cells", np.zeros((40, 60), int)).problem((48, 64))
            "'cells' is 40 × 60 pixels but the cube is 48 × 64."
        """
        own = tuple(int(length) for length in self.pixels.shape)
        if len(own) != 2:
            return f"'{self.name}' has {len(own)} axes: labels of a cube have two."
        if own != shape:
            size = f"{own[0]} × {own[1]} pixels"
            return f"'{self.name}' is {size} but the cube is {shape[0]} × {shape[1]}."
        return ""

    def read(self) -> NDArray[Any]:
        """Read the pixels, in an array of their own.

        Raises:
            LabelError: they cannot be read.
        """
        try:
            return np.array(self.pixels)
        except Exception as error:  # whatever the code raises that reads the layer
            raise LabelError(
                f"'{self.name}' cannot be read ({type(error).__name__}: {error}): check that its "
                "file is still there."
            ) from error

    def read_strokes(self) -> NDArray[np.uint8]:
        """Read the pixels as strokes.

        Raises:
            LabelError: they cannot be read, or a value is not within 0..255.
        """
        pixels = self.read()
        if pixels.size and not 0 <= int(pixels.min()) <= int(pixels.max()) <= _HIGHEST_VALUE:
            raise LabelError(
                f"'{self.name}' has labels from {pixels.min()} to {pixels.max()}: strokes have "
                f"values from 0 to {_HIGHEST_VALUE}."
            )
        return pixels.astype(np.uint8)


def is_named(known: LabelClass) -> bool:
    """Return whether a class has another name than the default one."""
    return known.name.casefold() != default_name(known.value).casefold()


def disagree(own: Iterable[LabelClass], others: Iterable[LabelClass]) -> bool:
    """Return whether two tables name a value differently, or have a name for different values."""
    names = {each.value: each.name.casefold() for each in own if is_named(each)}
    values = {name: value for value, name in names.items()}
    for each in others:
        name = each.name.casefold()
        if is_named(each) and (
            names.get(each.value, name) != name or values.get(name, each.value) != each.value
        ):
            return True
    return False


def joined(own: Iterable[LabelClass], others: Iterable[LabelClass]) -> tuple[LabelClass, ...]:
    """Return the classes of two tables by value; the others are preferred where they have names."""
    table = {each.value: each for each in own}
    for each in others:
        if each.value not in table or is_named(each):
            table[each.value] = each
    return tuple(table.values())


def matched_by_name(
    strokes: NDArray[np.uint8], own: Iterable[LabelClass], others: Iterable[LabelClass]
) -> tuple[NDArray[np.uint8], tuple[LabelClass, ...]]:
    """Give labels the values that classes of the same names have in another table.

    Args:
        strokes: (H, W) labels of the classes `others`.
        own: the table to keep.
        others: classes of the labels; a value without one has the default name.

    Returns:
        the labels with new values, and `own` with the classes added that it does not have: with
        their value if that is free, otherwise with the lowest free one.

    Raises:
        LabelError: there are more than 255 classes.
    """
    table = {each.value: each for each in own}
    values = {each.name.casefold(): each.value for each in table.values()}
    labelled = [int(value) for value in np.flatnonzero(np.bincount(strokes.ravel())) if value]
    classes = classes_of(labelled, others)
    lookup = np.zeros(_HIGHEST_VALUE + 1, np.uint8)
    for known in classes:
        name = known.name.casefold()
        if name not in values:
            free = (each for each in range(1, _HIGHEST_VALUE + 1) if each not in table)
            value = known.value if known.value not in table else next(free, None)
            if value is None:
                raise LabelError(f"There are more than {_HIGHEST_VALUE} classes: remove some.")
            values[name] = value
            table[value] = replace(known, value=value)
        lookup[known.value] = values[name]
    return lookup[strokes], tuple(table.values())


def classes_of(values: Iterable[int], known: Iterable[LabelClass]) -> tuple[LabelClass, ...]:
    """Return a class for each value, with a default name where none is known."""
    table = {each.value: each for each in known}
    return tuple(
        table.get(value) or LabelClass(value, default_name(value), default_colour(value))
        for value in values
    )


@dataclass(frozen=True, eq=False)
class MapScore:
    """Agreement of a map with true labels outside the strokes.

    Attributes:
        scores: accuracy and intersection over union, by class value of the map.
        names: names of these values.
        is_by_name: whether classes were matched by name, or by value.
    """

    scores: Scores
    names: Mapping[int, str]
    is_by_name: bool


def score_map(
    predicted: NDArray[Any],
    classes: Iterable[LabelClass],
    strokes: NDArray[np.uint8],
    truth: ForeignLabels,
) -> MapScore:
    """Compare a map with true labels, in the pixels that no stroke labels.

    Classes are matched by name if all of both have names, otherwise by value. True classes that
    the map does not have count as errors.

    Args:
        predicted: (H, W) map.
        classes: its classes.
        strokes: (H, W) strokes it was computed from, 0 = unlabelled.
        truth: the true labels, of the same size.

    Raises:
        LabelError: no pixel outside the strokes is labelled, or the labels cannot be read.
    """
    pixels = truth.read()
    judged = (pixels != 0) & (strokes == 0)
    if not judged.any():
        raise LabelError(f"'{truth.name}' labels no pixel outside the strokes.")
    found, indices = np.unique(pixels[judged], return_inverse=True)
    values = [int(value) for value in found]
    true_classes, own = classes_of(values, truth.classes), tuple(classes)
    is_by_name = all(map(is_named, (*true_classes, *own)))
    names = {each.value: each.name for each in (true_classes if not is_by_name else ())}
    names |= {each.value: each.name for each in own}
    if is_by_name:
        by_name = {each.name.casefold(): each.value for each in own}
        unknown = max((*names, *values, _HIGHEST_VALUE))
        for position, each in enumerate(true_classes):
            value = by_name.get(each.name.casefold(), unknown + 1 + position)
            values[position] = value
            names.setdefault(value, each.name)
    scores = evaluate(predicted[judged], np.array(values, np.int64)[indices.ravel()])
    return MapScore(scores, names, is_by_name)
