"""Names and colours of classes as JSON, beside label maps whose format has no room for them.

``{"classes": [{"value": 1, "name": "lumen", "colour": "#e69f00"}]}``
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carl.errors import LabelError
from carl.files import atomic_write, read_json
from carl.io.labels.label_map import LabelClass, default_colour


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


def write_classes(path: Path, classes: Sequence[LabelClass]) -> None:
    """Write classes to a JSON file."""
    listed = [class_to_json(each) for each in classes]
    with atomic_write(path) as temporary:
        text = json.dumps({"classes": listed}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


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
