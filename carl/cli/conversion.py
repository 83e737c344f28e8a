"""Commands that write cubes and label maps in other formats: export, convert."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer

from carl.cli.files import CubeOptions, check_folder, check_output, open_cube
from carl.cli.options import (
    CameraOption,
    FrameOption,
    HeightOption,
    JsonOption,
    RegisterOption,
    VariableOption,
    WavelengthsOption,
)
from carl.cli.terminal import print_json, print_rows, progress_line
from carl.errors import CarlError, OutputError
from carl.io import ExportContent

OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing files of the same names.")
]


def export(
    cube: Annotated[Path, typer.Argument(metavar="CUBE", help="Cube in any readable format.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Label map of the cube.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")
    ],
    contents: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="LIST",
            help=f"What to write, separated by commas: {', '.join(get_args(ExportContent))}. "
            "By default: label map, masks, table.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    wavelengths: WavelengthsOption = None,
    camera: CameraOption = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    json: JsonOption = False,
) -> None:
    """Write a label map and its cube as files for other programs.

    The names of the files start with that of the cube. Nothing is written if one of them exists,
    unless --overwrite is given, or if one format fails.
    """
    from carl.io import (
        DEFAULT_CONTENTS,
        default_classes,
        export_names,
        export_results,
        plan_outputs,
        read_labels,
    )

    chosen = DEFAULT_CONTENTS if contents is None else _contents(contents)
    check_folder(output)
    options = CubeOptions(wavelengths, camera, variable, frame, height, register)
    opened = open_cube(cube, options)
    label_map = read_labels(labels, opened.shape)
    classes = (*default_classes(label_map.labels), *label_map.classes)
    names_of = partial(export_names, classes=classes, contents=chosen)
    (names,) = plan_outputs([cube], names_of)
    _check_replaced((output / name for name in names.names), [cube, labels], overwrite)
    with progress_line() as progress:
        files = export_results(
            output, names.stem, label_map.labels, classes, opened, contents=chosen,
            progress=progress,
        )  # fmt: skip
    _report(files, json)


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Cube or label map in any readable format.")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="File to write; its suffix is the format. Cubes: .hdr (ENVI), .tif, .ome.tif. "
            "Label maps: .tif, .png, .npy, .hdr (ENVI classification), .geojson, .json (COCO), "
            ".seg.nrrd.",
        ),
    ],
    labels: Annotated[
        bool,
        typer.Option("--labels", help="INPUT is a label map; guessed from its name otherwise."),
    ] = False,
    cube: Annotated[
        Path | None,
        typer.Option(
            "--cube",
            metavar="CUBE",
            help="Cube of a label map: gives its size, which GeoJSON files may lack, and the size "
            "of a pixel.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    wavelengths: WavelengthsOption = None,
    camera: CameraOption = None,
    variable: VariableOption = None,
    frame: FrameOption = None,
    height: HeightOption = None,
    register: RegisterOption = False,
    json: JsonOption = False,
) -> None:
    """Convert a cube or a label map to another format."""
    from carl.io import is_label_map, read_labels, write_cube, write_labels

    check_output(output, output.suffix.lower(), [source])
    options = CubeOptions(wavelengths, camera, variable, frame, height, register)
    if labels or cube is not None or is_label_map(source):
        opened = None if cube is None else open_cube(cube, options)
        label_map = read_labels(source, None if opened is None else opened.shape)
        _check_replaced(_label_files(output), [source, cube], overwrite)
        files: Iterable[Path] = [write_labels(output, label_map.labels, label_map.classes, opened)]
    else:
        opened = open_cube(source, options)
        _check_replaced(_cube_files(output), [source, *_cube_files(source)], overwrite)
        files = write_cube(output, opened)
    _report(files, json)


def _contents(text: str) -> tuple[ExportContent, ...]:
    """Return the contents in a list that a user typed."""
    known: tuple[ExportContent, ...] = get_args(ExportContent)
    chosen = [word.strip().lower() for word in text.split(",")]
    for word in chosen:
        if word not in known:
            raise CarlError(f"There is no format '{word}': choose from {', '.join(known)}.")
    return tuple(each for each in known if each in chosen)


def _label_files(output: Path) -> list[Path]:
    """Return the files that writing a label map may replace."""
    from carl.io.labels import find_writer

    files = [output]
    if output.suffix.lower() == ".hdr":
        files.append(output.with_suffix(".dat"))
    if not find_writer(output).lists_classes:
        files.append(output.with_suffix(".json"))
    return files


def _cube_files(output: Path) -> list[Path]:
    """Return the files that writing a cube may replace."""
    is_envi = output.suffix.lower() not in (".tif", ".tiff")
    return [output.with_suffix(".hdr"), output.with_suffix(".dat")] if is_envi else [output]


def _check_replaced(files: Iterable[Path], inputs: Iterable[Path | None], overwrite: bool) -> None:
    """Check that no file of an input, and no other existing file unasked, is replaced.

    Raises:
        OutputError: one would be replaced.
    """
    sources = [each.resolve() for each in inputs if each is not None]
    for path in files:
        if path.exists() and path.resolve() in sources:
            raise OutputError(f"{path} is an input: give the output another name.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists: give another name, or --overwrite to replace it.")


def _report(files: Iterable[Path], json: bool) -> None:
    names = [str(path) for path in files]
    print_json({"files": names}) if json else print_rows(
        {f"file {number}": name for number, name in enumerate(names, 1)}
    )
