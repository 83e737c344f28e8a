"""Interface of the formats of label maps, and checks that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.errors import LabelError
from carl.io.labels.label_map import LabelClass, LabelMap
from carl.io.size_limits import MAX_IMAGE_RATIO, check_decoded_size, check_pixels

Shape = tuple[int, int]
"""Height and width."""

_MAX_VALUE = 65535
"""Largest value of a class: label maps are uint8 or uint16."""


@dataclass(frozen=True, eq=False)
class StoredLabels:
    """Contents of a file.

    Attributes:
        pixels: (H, W) numbers, which are not checked yet.
        classes: those that the file lists; None if the format has no room for them and they are
            stored in a JSON file beside it.
    """

    pixels: NDArray[Any]
    classes: tuple[LabelClass, ...] | None = None


@dataclass(frozen=True)
class LabelFormat:
    """A format of label maps.

    Attributes:
        name: display name.
        suffixes: endings of the names of its files, in lower case; several formats may share one.
        written_suffixes: those that are written, which no other format has.
        read: reads a file; the second argument is the size of the cube it belongs to, or None.
            Raises a `CarlError` for known problems; any other exception is reported as a damaged
            file.
        write: writes a label map to a path that ends in one of the suffixes; the cube, if known,
            gives the size of a pixel, the georeference and the picture in true colour. None if the
            format is read only.
        lists_classes: whether the file holds the names of the classes; otherwise they are written
            as JSON beside it.
        sniff: returns whether a file with such a suffix has this format.
        extra: extra of the installation that the format needs, with the name of its package;
            None if it needs none.

    Examples:
        >>> from pathlib import Path
        >>> from carl.io.labels import find_writer
        >>> find_writer(Path("cells.geojson")).name
        'GeoJSON'
    """

    name: str
    suffixes: tuple[str, ...]
    written_suffixes: tuple[str, ...]
    read: Callable[[Path, Shape | None], StoredLabels]
    write: Callable[[Path, LabelMap, SpectralCube | None], None] | None = None
    lists_classes: bool = True
    sniff: Callable[[Path], bool] = lambda path: True
    extra: tuple[str, str] | None = None

    @property
    def missing_extra(self) -> str | None:
        """Name of the extra that is needed and not installed, or None."""
        if self.extra is None or find_spec(self.extra[1]) is not None:
            return None
        return self.extra[0]

    def require(self) -> None:
        """Check that the packages of the format are installed.

        Raises:
            LabelError: they are not.
        """
        extra = self.missing_extra
        if extra is not None:
            raise LabelError(
                f"{self.name} files need packages that are not installed: run pip install "
                f'"napari-carl[{extra}]".'
            )


def check_size(path: Path, stated: Shape, known: Shape | None) -> None:
    """Check the size that a file states before an array of it is allocated.

    Args:
        path: the file.
        stated: height and width that it states.
        known: height and width of the cube it belongs to, or None.

    Raises:
        LabelError: the size is not positive, differs from that of the cube, or is too large for
            the file or the memory.
    """
    height, width = stated
    if height < 1 or width < 1:
        raise LabelError(f"{path.name} states {height} × {width} pixels: it is damaged.")
    check_pixels(path, height * width, LabelError)
    if known is not None and known != stated:
        raise wrong_size(path, stated, known)
    n_bytes = height * width * np.dtype(np.uint16).itemsize
    n_stored = n_bytes if known is not None else path.stat().st_size
    check_decoded_size(path, n_bytes, n_stored, max_ratio=MAX_IMAGE_RATIO, error_type=LabelError)


def wrong_size(path: Path, own: Shape, cube: Sequence[int]) -> LabelError:
    """Return the error for a label map of another size than its cube."""
    return LabelError(
        f"{path.name} is {own[0]} × {own[1]} pixels but the cube is {cube[0]} × {cube[1]}: labels "
        "must have the size of their cube."
    )


def check_value(path: Path, value: int) -> int:
    """Return the value of a class, if it is one.

    Raises:
        LabelError: it is not within 1..65535.
    """
    if not 1 <= value <= _MAX_VALUE:
        raise LabelError(
            f"{path.name} has a class with the value {value:.6g}: values go from 1 to {_MAX_VALUE}."
        )
    return value


def read_colour(values: Any) -> tuple[int, int, int] | None:
    """Return an RGB colour of whole numbers 0..255, or None if these values are none."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    if not all(isinstance(level, int) and 0 <= level <= 255 for level in values):
        return None
    red, green, blue = values
    return int(red), int(green), int(blue)
