"""Reading and writing of cubes and label maps. Imports no PyTorch, and other libraries lazily."""

from __future__ import annotations

from carl.io.cube_writers import CUBE_WRITERS, CubeWriter, write_cube
from carl.io.export import (
    DEFAULT_CONTENTS,
    ExportContent,
    export_names,
    export_results,
    missing_extra,
)
from carl.io.formats import READABLE_SUFFIXES, identify_cube, is_readable, read_cube
from carl.io.info import CubeInfo, info
from carl.io.labels import (
    LABEL_FORMATS,
    LabelClass,
    LabelFormat,
    LabelMap,
    default_classes,
    default_colour,
    find_writer,
    is_label_map,
    merge_classes,
    read_classes,
    read_labels,
    write_labels,
)
from carl.io.output_names import OutputNames, find_existing, plan_outputs
from carl.io.reader import Choice, ChoiceError

__all__ = [
    "CUBE_WRITERS",
    "DEFAULT_CONTENTS",
    "LABEL_FORMATS",
    "READABLE_SUFFIXES",
    "Choice",
    "ChoiceError",
    "CubeInfo",
    "CubeWriter",
    "ExportContent",
    "LabelClass",
    "LabelFormat",
    "LabelMap",
    "OutputNames",
    "default_classes",
    "default_colour",
    "export_names",
    "export_results",
    "find_existing",
    "find_writer",
    "identify_cube",
    "info",
    "is_label_map",
    "is_readable",
    "merge_classes",
    "missing_extra",
    "plan_outputs",
    "read_classes",
    "read_cube",
    "read_labels",
    "write_cube",
    "write_labels",
]
