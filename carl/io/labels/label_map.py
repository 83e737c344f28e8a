"""Label maps: an integer for each pixel, and the names and colours of the classes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.errors import LabelError

Colour = tuple[int, int, int]

_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (51, 34, 136), (136, 204, 238), (17, 119, 51), (153, 153, 51), (136, 34, 85),
)  # fmt: skip
"""RGB colours that people with any kind of colour vision can distinguish: seven of Okabe and Ito
(jfly.uni-koeln.de/color), then five of Paul Tol's "muted" scheme (personal.sron.nl/~pault)."""

_GOLDEN_RATIO = 0.618034
"""Step of the hue beyond the palette: multiples of it, modulo 1, stay far apart."""


@dataclass(frozen=True)
class LabelClass:
    """A class: its value in label maps (from 1), its name, and its RGB colour (0..255).

    Examples:
        >>> from carl import LabelClass
        >>> LabelClass(1, "lumen", (230, 159, 0))
        LabelClass(value=1, name='lumen', colour=(230, 159, 0))
    """

    value: int
    name: str
    colour: Colour


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap:
    """(H, W) uint8 or uint16 labels, 0 for unlabelled, and their classes.

    Examples:
        >>> import carl
        >>> path = carl.write_labels("labels.png", [[0, 1], [2, 2]])
        >>> carl.read_labels(path)
        <LabelMap: 2 × 2 pixels; class 1, class 2>
    """

    labels: NDArray[np.unsignedinteger[Any]]
    classes: tuple[LabelClass, ...]

    def __repr__(self) -> str:
        height, width = self.labels.shape
        names = ", ".join(each.name for each in self.classes)
        return f"<LabelMap: {height} × {width} pixels; {names or 'no classes'}>"


def default_colour(value: int) -> Colour:
    """Return the default colour of a class, which depends on its value alone."""
    if 1 <= value <= len(_PALETTE):
        return _PALETTE[value - 1]
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN_RATIO % 1.0, 0.6, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def default_classes(labels: ArrayLike) -> tuple[LabelClass, ...]:
    """Return a class "class 1", "class 2", … for every value in the labels except 0."""
    values = (int(value) for value in np.unique(np.asarray(labels)) if value)
    return tuple(LabelClass(value, f"class {value}", default_colour(value)) for value in values)


def merge_classes(
    label_maps: Sequence[LabelMap], names: Sequence[str] | None = None
) -> tuple[LabelClass, ...]:
    """Merge the classes of several label maps.

    Args:
        label_maps: of the same classes.
        names: of classes 1, 2, …; the names that were read with the label maps if None.

    Raises:
        LabelError: too few names, two equal or empty ones, or two label maps that give different
            names to one value.
    """
    if names is not None:
        highest = max(int(each.labels.max()) for each in label_maps)
        if not all(names) or len(set(names)) < len(names) or highest > len(names):
            raise LabelError(
                f"{len(names)} class names were given and the labels go up to {highest}: give a "
                "different name to each class from 1."
            )
        return tuple(
            LabelClass(value, name, default_colour(value)) for value, name in enumerate(names, 1)
        )
    named: dict[int, LabelClass] = {}
    unnamed: dict[int, LabelClass] = {}
    for label_map in label_maps:
        defaults = default_classes(label_map.labels)
        unnamed.update((each.value, each) for each in defaults)
        for each in set(label_map.classes) - set(defaults):
            known = named.setdefault(each.value, each)
            if known.name != each.name:
                raise LabelError(
                    f"Class {each.value} is called '{known.name}' in one label map and "
                    f"'{each.name}' in another: give the names of the classes."
                )
    merged = unnamed | named
    return tuple(merged[value] for value in sorted(merged))


def as_labels(values: ArrayLike, name: str = "The label map") -> NDArray[Any]:
    """Convert values to a label map: (H, W) uint8, or uint16 if a value needs it.

    The values are whole numbers 0..65535 in an array that is two-dimensional without its axes of
    length one.

    Raises:
        LabelError: the array has another shape, or values that are not labels.
    """
    array = np.asarray(values)
    if array.ndim > 2:
        array = array.reshape([n for n in array.shape if n != 1] or [1])
    if array.ndim != 2 or 0 in array.shape:
        raise LabelError(
            f"{name} has the shape {np.shape(values)}: a label map has one whole number per pixel."
        )
    if array.dtype.kind == "f":
        is_whole = bool(np.all(np.isfinite(array)) and np.all(array == np.rint(array)))
    else:
        is_whole = array.dtype.kind in "biu"
    if not is_whole:
        raise LabelError(f"{name} holds {array.dtype} values: labels are whole numbers.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise LabelError(
            f"{name} holds values from {low:.6g} to {high:.6g}: labels go from 0 to 65535."
        )
    return array.astype(np.uint8 if high < 256 else np.uint16)
