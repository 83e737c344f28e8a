"""Label maps: which class each pixel belongs to, and what the classes are called.

A label map is an integer image, 0 for unlabelled. The names and colours of its classes lie beside
it as JSON: ``{"classes": [{"value": 1, "name": "lumen", "colour": "#e69f00"}]}``.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.errors import LabelError
from carl.files import atomic_write
from carl.io.reader import decoding_errors

Colour = tuple[int, int, int]

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")

_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (51, 34, 136),
    (136, 204, 238),
    (17, 119, 51),
    (153, 153, 51),
    (136, 34, 85),
)
"""Told apart with any kind of colour vision: seven of Okabe and Ito (jfly.uni-koeln.de/color), then
five of Paul Tol's "muted" scheme (personal.sron.nl/~pault)."""

_GOLDEN_RATIO = 0.618034


@dataclass(frozen=True)
class LabelClass:
    """A class: its value in label maps (1 and up), its name, its colour as 0..255 RGB."""

    value: int
    name: str
    colour: Colour


@dataclass(frozen=True, eq=False)
class LabelMap:
    """(H, W) uint8 or uint16 labels, 0 for unlabelled, and the classes they stand for."""

    labels: NDArray[np.unsignedinteger[Any]]
    classes: tuple[LabelClass, ...]


def default_colour(value: int) -> Colour:
    """The colour of a class nobody chose one for: the same for the same value everywhere."""
    if 1 <= value <= len(_PALETTE):
        return _PALETTE[value - 1]
    red, green, blue = colorsys.hsv_to_rgb(value * _GOLDEN_RATIO % 1.0, 0.6, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def default_classes(labels: ArrayLike) -> tuple[LabelClass, ...]:
    """A class "class 1", "class 2", … for every value in the labels."""
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
    """Values as a label map: (H, W) uint8, or uint16 where a value needs it.

    Args:
        values: any array of whole numbers 0..65535, axes of length one aside two-dimensional.
        name: what to call it in messages.

    Raises:
        LabelError: another shape, or numbers that are no labels.
    """
    array = np.asarray(values)
    if array.ndim > 2:
        array = array.reshape([n for n in array.shape if n > 1] or [1])
    if array.ndim != 2 or 0 in array.shape:
        raise LabelError(
            f"{name} has the shape {np.shape(values)}: labels are one whole number a pixel."
        )
    if array.dtype.kind == "f" and np.all(np.isfinite(array)) and np.all(array == np.rint(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "biu":
        raise LabelError(f"{name} holds {array.dtype} values: labels are whole numbers.")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise LabelError(f"{name} holds values from {low} to {high}: labels go from 0 to 65535.")
    return array.astype(np.uint8 if high < 256 else np.uint16)


def read_labels(
    path: str | Path, shape: tuple[int, int] | tuple[int, int, int] | None = None
) -> LabelMap:
    """Read a label map and, where JSON with them lies beside it, its class names and colours.

    PNG (grey or palette), TIFF and .npy are read. The JSON is ``<stem>.json``, or, of an exported
    ``<name>_labels.tif``, ``<name>_classes.json``.

    Args:
        path: the label map.
        shape: the shape of the cube it belongs to; checked where given.

    Raises:
        LabelError: missing, damaged, no label map, or of another size than the cube.
    """
    path = Path(path)
    if not path.is_file():
        raise LabelError(f"{path} does not exist: check the name and the folder.")
    labels = as_labels(_read_pixels(path), path.name)
    if shape is not None and labels.shape != tuple(shape[:2]):
        raise LabelError(
            f"{path.name} is {labels.shape[0]} × {labels.shape[1]} pixels but the cube is "
            f"{shape[0]} × {shape[1]}: labels must be of the size of their cube."
        )
    named = {known.value: known for known in _read_classes(path)}
    for known in default_classes(labels):
        named.setdefault(known.value, known)
    return LabelMap(labels, tuple(named[value] for value in sorted(named)))


def write_labels(path: str | Path, labels: ArrayLike, classes: Iterable[LabelClass] = ()) -> Path:
    """Write a label map as .tif, .png or .npy, and its classes, if given, as JSON beside it.

    Args:
        path: where to; the suffix chooses the format. An 8-bit PNG gets the class colours.
        labels: (H, W) whole numbers 0..65535.
        classes: names and colours.

    Returns:
        The path.

    Raises:
        LabelError: these are no labels, or the suffix is none of these.
        OutputError: the folder cannot be written.
    """
    path = Path(path)
    classes = tuple(classes)
    array = as_labels(labels)
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise LabelError(f"{path.name} has to end in .tif, .png or .npy.")
    with atomic_write(path) as temporary:
        if suffix == ".png":
            _write_png(temporary, array, classes)
        elif suffix == ".npy":
            np.save(temporary, array)
        else:
            _write_tiff(temporary, array)
        if classes:
            write_classes(path.with_suffix(".json"), classes)
    return path


def write_classes(path: Path, classes: Sequence[LabelClass]) -> None:
    """Write names and colours of classes as JSON.

    Raises:
        OutputError: the folder cannot be written.
    """
    listed = [
        {"value": c.value, "name": c.name, "colour": "#{:02x}{:02x}{:02x}".format(*c.colour)}
        for c in classes
    ]
    with atomic_write(path) as temporary:
        text = json.dumps({"classes": listed}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _read_pixels(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise LabelError(f"{path.name} is no label map that can be read: use .png, .tif or .npy.")
    with decoding_errors(path, "a label map", LabelError):
        if suffix == ".png":
            return _read_png(path)
        if suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        return _read_tiff(path)


def _read_png(path: Path) -> NDArray[Any]:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        if image.mode not in ("P", "L", "1", "I", "I;16"):
            raise LabelError(
                f"{path.name} is a picture in colours ({image.mode}): a label map has one number a "
                "pixel, so save it in shades of grey or with a palette."
            )
        return np.array(image)


def _read_tiff(path: Path) -> NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        return np.asarray(file.series[0].asarray())


def _write_png(path: Path, labels: NDArray[Any], classes: Sequence[LabelClass]) -> None:
    from PIL import Image

    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        palette = np.array([(0, 0, 0), *map(default_colour, range(1, 256))], np.uint8)
        for known in classes:
            if 0 < known.value < 256:
                palette[known.value] = known.colour
        image.putpalette(palette.tobytes())  # makes a grey image one of mode "P", values unchanged
    image.save(path, format="PNG", optimize=True)


def _write_tiff(path: Path, labels: NDArray[Any]) -> None:
    import tifffile

    tifffile.imwrite(path, labels, photometric="minisblack", compression="zlib", metadata=None)


def _read_classes(path: Path) -> tuple[LabelClass, ...]:
    """The classes in the JSON beside a label map; none if there is no such file."""
    candidates = [path.with_suffix(".json")]
    if path.stem.endswith("_labels"):
        candidates.append(path.with_name(path.stem.removesuffix("_labels") + "_classes.json"))
    beside = next((candidate for candidate in candidates if candidate.is_file()), None)
    if beside is None:
        return ()
    try:
        content = json.loads(beside.read_text(encoding="utf-8-sig"))
        listed = content.get("classes", []) if isinstance(content, dict) else []
        return tuple(_class_from(entry) for entry in listed)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LabelError(
            f"{beside.name} is no list of classes: correct it, or move it away to use plain names."
        ) from error


def _class_from(entry: dict[str, Any]) -> LabelClass:
    value = int(entry["value"])
    written = entry.get("colour", entry.get("color"))
    if isinstance(written, str):
        written = tuple(bytes.fromhex(written.lstrip("#")))
    colour = default_colour(value) if written is None else tuple(int(c) for c in written)
    if not 0 < value <= 65535 or len(colour) != 3 or not all(0 <= c <= 255 for c in colour):
        raise ValueError(f"class {entry}")
    return LabelClass(value, str(entry["name"]), (colour[0], colour[1], colour[2]))
