"""Reading and writing of label maps and of the names and colours of their classes.

A label map is an integer image, 0 for unlabelled. The names and colours of its classes are stored
beside it as JSON: ``{"classes": [{"value": 1, "name": "lumen", "colour": "#e69f00"}]}``.
"""

from __future__ import annotations

import colorsys
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carl.errors import CubeError, LabelError
from carl.files import atomic_write, read_json
from carl.io import envi, numpy_files, tiff
from carl.io.assembly import LABEL_NAME
from carl.io.formats import read_contents
from carl.io.reader import decoding_errors
from carl.io.size_limits import MAX_IMAGE_RATIO, check_decoded_size, check_pixels

Colour = tuple[int, int, int]

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")

CONTAINER_SUFFIXES = (".npz", ".mat", ".h5", ".hdf5", ".he5", ".nc")
"""Suffixes of files that may hold a cube and label maps."""

_PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (51, 34, 136), (136, 204, 238), (17, 119, 51), (153, 153, 51), (136, 34, 85),
)  # fmt: skip
"""RGB colours that people with any kind of colour vision can distinguish: seven of Okabe and Ito
(jfly.uni-koeln.de/color), then five of Paul Tol's "muted" scheme (personal.sron.nl/~pault)."""

_PNG_BYTES = {"P": 1, "L": 1, "1": 1, "I": 4, "I;16": 2}
"""Bytes of a decoded pixel by the modes of Pillow for one number per pixel."""

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


def is_label_map(path: str | Path) -> bool:
    """Return whether a file is a label map, by its name and its classes; never raises.

    It is one if its name ends in ``_labels``, as that of an exported label map, if the names of
    its classes are stored beside it, or if it is an ENVI classification. Other files may be read
    by `read_labels`, too.

    Examples:
        >>> from carl.files import resource_path
        >>> is_label_map(resource_path("sample", "bladder_labels.png"))
        True
        >>> is_label_map(resource_path("sample", "bladder.tif"))
        False
    """
    path = Path(path)
    if not os.path.isfile(path):
        return False
    if path.suffix.lower() not in LABEL_SUFFIXES:
        return envi.is_classification(path)
    try:
        return path.stem.endswith("_labels") or bool(read_classes(path))
    except LabelError:
        return False


def read_labels(
    path: str | Path,
    shape: tuple[int, int] | tuple[int, int, int] | None = None,
    variable: str | None = None,
) -> LabelMap:
    """Read a label map, and the names and colours of its classes from JSON beside it.

    Examples:
        >>> from carl.files import resource_path
        >>> label_map = read_labels(resource_path("sample", "bladder_labels.png"))
        >>> label_map.labels.shape
        (676, 844)
        >>> [each.name for each in label_map.classes]
        ['lumen', 'urothelium', 'stroma', 'blood']

    Args:
        path: PNG (grey or palette), TIFF, .npy, or an ENVI classification, whose header holds the
            classes. The JSON is ``<stem>.json`` or, for an exported ``<name>_labels.tif``,
            ``<name>_classes.json``. Or a file that holds a cube and its labels.
        shape: shape of the cube it belongs to, checked if given.
        variable: name of the array, in a file that holds several, such as .mat, .npz and HDF5.

    Raises:
        LabelError: the file is missing, damaged, not a label map, or of another size than the cube.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise LabelError(f"{path} does not exist: check the name and the folder.")
    named: tuple[LabelClass, ...] | None = None
    if variable is not None or path.suffix.lower() in CONTAINER_SUFFIXES:
        pixels = _read_variable(path, variable)
    elif envi.is_classification(path):
        pixels, named = _read_classification(path)
    else:
        pixels = _read_pixels(path)
    labels = as_labels(pixels, path.name)
    if shape is not None and labels.shape != tuple(shape[:2]):
        raise LabelError(
            f"{path.name} is {labels.shape[0]} × {labels.shape[1]} pixels but the cube is "
            f"{shape[0]} × {shape[1]}: labels must have the size of their cube."
        )
    named = read_classes(path) if named is None else named
    classes = {each.value: each for each in (*default_classes(labels), *named)}
    return LabelMap(labels, tuple(classes[value] for value in sorted(classes)))


def write_labels(path: str | Path, labels: ArrayLike, classes: Iterable[LabelClass] = ()) -> Path:
    """Write a label map as .tif, .png or .npy, and its classes, if given, as JSON beside it.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> labels = np.array([[0, 1], [2, 2]])
        >>> classes = [LabelClass(1, "lumen", (230, 159, 0)), LabelClass(2, "blood", (255, 0, 0))]
        >>> with TemporaryDirectory() as folder:
        ...     path = write_labels(Path(folder) / "slide_labels.png", labels, classes)
        ...     [each.name for each in read_labels(path).classes]
        ['lumen', 'blood']

    Args:
        path: of the file; its suffix determines the format. 8-bit PNG files store the colours.
        labels: (H, W) whole numbers 0..65535.
        classes: names and colours.

    Returns:
        The path.

    Raises:
        LabelError: the values are not labels, or the suffix is another one.
        OutputError: the folder cannot be written.
    """
    path = Path(path)
    classes = tuple(classes)
    array = as_labels(labels)
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise LabelError(f"{path.name} must end in .tif, .png or .npy.")
    with atomic_write(path) as temporary:
        if suffix == ".png":
            _write_png(temporary, array, classes)
        elif suffix == ".npy":
            np.save(temporary, array)
        else:
            import tifffile

            tifffile.imwrite(
                temporary, array, photometric="minisblack", compression="zlib", metadata=None
            )
        if classes:
            _write_classes(path.with_suffix(".json"), classes)
    return path


def _write_classes(path: Path, classes: Sequence[LabelClass]) -> None:
    listed = [class_to_json(each) for each in classes]
    with atomic_write(path) as temporary:
        text = json.dumps({"classes": listed}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _read_pixels(path: Path) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise LabelError(
            f"{path.name} is not a label map: use .png, .tif, .npy or an ENVI classification."
        )
    with decoding_errors(path, "a label map", LabelError):
        if suffix == ".png":
            return _read_png(path)
        try:
            if suffix != ".npy":
                return tiff.read_image(path)
            return np.asarray(numpy_files.read(path).data[...])
        except CubeError as error:
            raise LabelError(str(error)) from error


def _read_variable(path: Path, name: str | None) -> NDArray[Any]:
    """Return an array of a file with several, by default the only one named like labels."""
    with decoding_errors(path, "a label map", LabelError):
        try:
            if name is None:
                found = [
                    each.name
                    for each in read_contents(path).others
                    if len(each.shape) == 2 and LABEL_NAME.search(each.name)
                ]
                if len(found) != 1:
                    held = f"several: {', '.join(found)}" if found else "none by its name"
                    raise LabelError(
                        f"{path.name} is not a label map but may hold one, and holds {held}: name "
                        "the array (variable=, --labels-variable)."
                    )
                (name,) = found
            contents = read_contents(path, name)
            shape = tuple(n for n in contents.data.shape if n != 1)
            if len(shape) > 2:
                raise LabelError(
                    f"{name} in {path.name} has the shape {contents.data.shape}: a label map has "
                    "one whole number per pixel."
                )
            check_pixels(path, math.prod(shape), LabelError)
            return np.asarray(contents.data[...])
        except CubeError as error:
            raise LabelError(str(error)) from error


def _read_png(path: Path) -> NDArray[Any]:
    from PIL.PngImagePlugin import PngImageFile

    # Not by Image.open, which refuses any picture of more than 179 million pixels.
    with PngImageFile(path) as image:
        n_pixels = image.width * image.height
        check_pixels(path, n_pixels, LabelError)
        n_bytes = n_pixels * _PNG_BYTES.get(image.mode, 1)
        check_decoded_size(
            path, n_bytes, path.stat().st_size, max_ratio=MAX_IMAGE_RATIO, error_type=LabelError
        )
        if image.mode not in _PNG_BYTES:
            raise LabelError(
                f"{path.name} is a colour picture ({image.mode}): a label map has one number per "
                "pixel, so save it in grey or with a palette."
            )
        return np.array(image)


def _write_png(path: Path, labels: NDArray[Any], classes: Sequence[LabelClass]) -> None:
    from PIL import Image

    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        palette = np.array([(0, 0, 0), *map(default_colour, range(1, 256))], np.uint8)
        for each in classes:
            if 0 < each.value < 256:
                palette[each.value] = each.colour
        image.putpalette(palette.tobytes())  # changes the mode from "L" to "P", not the values
    image.save(path, format="PNG", optimize=True)


def _read_classification(path: Path) -> tuple[NDArray[Any], tuple[LabelClass, ...]]:
    with decoding_errors(path, "a label map", LabelError):
        try:
            found = envi.read_classification(path)
            labels = np.asarray(found.labels[...])
        except CubeError as error:
            raise LabelError(str(error)) from error
    classes = (
        LabelClass(value, name, found.colours.get(value, default_colour(value)))
        for value, name in found.names.items()
    )
    return labels, tuple(classes)


def read_classes(path: Path) -> tuple[LabelClass, ...]:
    """Read the classes in the JSON file beside a label map; empty if there is none.

    Raises:
        LabelError: the file is not a list of classes.
    """
    candidates = [path.with_suffix(".json")]
    if path.stem.endswith("_labels"):
        candidates.append(path.with_name(path.stem.removesuffix("_labels") + "_classes.json"))
    beside = next((candidate for candidate in candidates if os.path.isfile(candidate)), None)
    if beside is None:
        return ()
    try:
        content = read_json(beside)
        listed = content.get("classes", []) if isinstance(content, dict) else []
        return tuple(class_from_json(entry) for entry in listed)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabelError(
            f"{beside.name} is not a list of classes: correct it, or remove it for default names."
        ) from error


def class_to_json(known: LabelClass) -> dict[str, Any]:
    """Return the JSON object that stores a class."""
    colour = "#{:02x}{:02x}{:02x}".format(*known.colour)
    return {"value": known.value, "name": known.name, "colour": colour}


def class_from_json(entry: dict[str, Any]) -> LabelClass:
    """Return the class stored as a JSON object.

    Raises:
        KeyError, TypeError, ValueError: it does not store a class.
    """
    stored = entry.get("colour", entry.get("color"))
    if isinstance(stored, str):
        stored = tuple(bytes.fromhex(stored.lstrip("#")))
    try:
        value = int(entry["value"])
        colour = default_colour(value) if stored is None else tuple(int(c) for c in stored)
    except OverflowError as error:  # infinity
        raise ValueError(f"class {entry}") from error
    if not 0 < value <= 65535 or len(colour) != 3 or not all(0 <= c <= 255 for c in colour):
        raise ValueError(f"class {entry}")
    return LabelClass(value, str(entry["name"]), (colour[0], colour[1], colour[2]))
