"""Reading and writing of label maps in many formats, and of the classes that they show."""

from __future__ import annotations

from carl.io.labels.class_list import class_from_json, class_to_json, read_classes
from carl.io.labels.formats import (
    LABEL_FORMATS,
    find_label_format,
    find_writer,
    is_label_map,
    read_labels,
    write_labels,
)
from carl.io.labels.label_format import LabelFormat
from carl.io.labels.label_map import (
    Colour,
    LabelClass,
    LabelMap,
    as_labels,
    default_classes,
    default_colour,
    merge_classes,
)

__all__ = [
    "LABEL_FORMATS",
    "Colour",
    "LabelClass",
    "LabelFormat",
    "LabelMap",
    "as_labels",
    "class_from_json",
    "class_to_json",
    "default_classes",
    "default_colour",
    "find_label_format",
    "find_writer",
    "is_label_map",
    "merge_classes",
    "read_classes",
    "read_labels",
    "write_labels",
]
