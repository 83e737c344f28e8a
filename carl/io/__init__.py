"""Reading and writing of cubes and label maps. Imports no PyTorch, and other libraries lazily."""

from __future__ import annotations

from carl.io.envi import write_cube
from carl.io.export import DEFAULT_CONTENTS, ExportContent, export_names, export_results
from carl.io.formats import READABLE_SUFFIXES, identify_cube, is_readable, read_cube
from carl.io.info import CubeInfo, info
from carl.io.labels import (
    LabelClass,
    LabelMap,
    default_classes,
    default_colour,
    is_label_map,
    merge_classes,
    read_classes,
    read_labels,
    write_labels,
)
from carl.io.output_names import OutputNames, find_existing, plan_outputs
from carl.io.reader import Choice, ChoiceError

__all__ = [
    "DEFAULT_CONTENTS",
    "READABLE_SUFFIXES",
    "Choice",
    "ChoiceError",
    "CubeInfo",
    "ExportContent",
    "LabelClass",
    "LabelMap",
    "OutputNames",
    "default_classes",
    "default_colour",
    "export_names",
    "export_results",
    "find_existing",
    "identify_cube",
    "info",
    "is_label_map",
    "is_readable",
    "merge_classes",
    "plan_outputs",
    "read_classes",
    "read_cube",
    "read_labels",
    "write_cube",
    "write_labels",
]
