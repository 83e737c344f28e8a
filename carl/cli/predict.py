"""``carl predict``: a segmenter and cubes in, label maps out."""

from __future__ import annotations

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson, Camera, Device, Variable, Wavelengths
from carl.cli.outputs import check_folder
from carl.cli.terminal import progress_line, show_facts, show_json
from carl.errors import OutputError
from carl.files import atomic_folder


def predict(
    cubes: Annotated[list[Path], typer.Argument(metavar="CUBE", help="Cubes in any format.")],
    model: Annotated[
        Path,
        typer.Option("--model", metavar="NAME.carl", help="Made by 'carl fit' or 'carl train'."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where the label maps go.")
    ],
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write the probability of each class, float32."),
    ] = False,
    wavelengths: Wavelengths = None,
    camera: Camera = None,
    variable: Variable = None,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Segment cubes: writes STEM_labels.tif and class names for each, or nothing if one fails.

    A model that classifies whole images writes STEM_probabilities.json instead.
    """
    from carl.cli.inputs import open_cube_with_wavelengths
    from carl.cli.label_maps import write_maps

    _check_names(cubes)
    check_folder(output)
    opened = [open_cube_with_wavelengths(path, wavelengths, camera, variable) for path in cubes]

    from carl.learning.head_training import TrainedHead, load_predictor
    from carl.progress import subprogress

    trained = load_predictor(model, device)
    shares: dict[str, dict[str, float]] = {}
    with atomic_folder(output) as folder, progress_line() as progress:
        for done, (path, cube) in enumerate(zip(cubes, opened, strict=True)):
            step = subprogress(progress, done / len(cubes), (done + 1) / len(cubes))
            if isinstance(trained, TrainedHead) and trained.classifies:
                name = f"{path.stem}_probabilities.json"
                found = trained.classify(cube, progress=step)
                (folder / name).write_text(dumps(found, indent=2, ensure_ascii=False), "utf-8")
                shares[str(output / name)] = found
                continue
            labels = write_maps(
                trained, cube, folder, path.stem, probabilities=probabilities, progress=step
            )
            shares[str(output / f"{path.stem}_labels.tif")] = {
                each.name: float((labels == each.value).mean()) for each in trained.classes
            }
    if json:
        show_json(shares)
        return
    show_facts(
        {
            path: ", ".join(f"{name} {share:.1%}" for name, share in of_class.items())
            for path, of_class in shares.items()
        }
    )


def _check_names(cubes: Sequence[Path]) -> None:
    """Refuse two cubes whose results would have one name.

    Raises:
        OutputError: two cubes have the same stem.
    """
    taken: dict[str, Path] = {}
    for path in cubes:
        other = taken.setdefault(path.stem.casefold(), path)
        if other is not path:
            raise OutputError(
                f"{other} and {path} would both be written to {path.stem}_labels.tif: predict them "
                "into different folders."
            )
