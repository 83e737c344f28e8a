"""Commands on networks: models, download, pretrain, import."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carl.cli.files import check_output
from carl.cli.options import JsonOption
from carl.cli.terminal import print_json, print_rows, print_table, progress_line

if TYPE_CHECKING:
    from carl.model import ModelInfo
    from carl.model.checkpoint import Part


def models(json: JsonOption = False) -> None:
    """List the networks that --model takes by name."""
    from carl.model import list_models

    known = list_models()
    if json:
        print_json([asdict(model) for model in known])
        return
    print_table(
        ("name", "parameters", "weights", "description"),
        [
            (
                model.name + (" (default)" if model.default else ""),
                model.parameters,
                _weights(model),
                model.description,
            )
            for model in known
        ],
    )


def _weights(model: ModelInfo) -> str:
    if model.trained:
        return "trained"
    return f"carl download {model.name}" if model.downloadable else "UNTRAINED: random weights"


def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Network with 'carl download' in 'carl models'.")
    ],
    json: JsonOption = False,
) -> None:
    """Download the weights of a network; an interrupted download is resumed.

    The weights are saved in the data folder of your user account, or in the folder that the
    environment variable CARL_HOME sets.
    """
    from carl.model import download_weights

    try:
        with progress_line() as progress:
            path = download_weights(name, progress=progress)
    except KeyboardInterrupt:
        raise typer.Abort(
            f"the downloaded part is saved; 'carl download {name}' resumes it."
        ) from None
    rows = {"model": name, "file": str(path), "bytes": path.stat().st_size}
    print_json(rows) if json else print_rows(rows)


def pretrain(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="Configuration of the run.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the last checkpoint of the run.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Pre-train a network on images without labels.

    CONFIG.yaml needs `data` (a list of data sets, each with `kind` and `path`), `output` and
    `steps`; everything else has a default. Follow a run with `tensorboard --logdir OUTPUT`.
    """
    from carl import pretraining

    with progress_line() as progress:
        result = pretraining.pretrain(config, resume=resume, progress=progress)
    if result is None:  # in a worker process of distributed training
        return
    low, high = result.wavelength_range_nm
    rows = {"model": str(result.model), "steps": result.steps}
    if json:
        print_json({**rows, "wavelengths": result.wavelength_range_nm})
    else:
        print_rows({**rows, "wavelengths": f"{low:g}–{high:g} nm"})


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT.ckpt", help="Lightning checkpoint of CARL.")
    ],
    config: Annotated[
        Path,
        typer.Option(
            metavar="CONFIG", help="JSON or YAML configuration of the checkpoint's network."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="NAME.safetensors", help="File to write."),
    ],
    teacher: Annotated[
        bool,
        typer.Option("--teacher", help="Import the teacher of self-supervision, not the student."),
    ] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Write the weights in half precision.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Convert a checkpoint of the original CARL into a file for --model.

    No code in the checkpoint is run.
    """
    check_output(output, ".safetensors", [checkpoint, config])

    from carl.model import import_checkpoint

    part: Part = "teacher" if teacher else "student"
    network = import_checkpoint(checkpoint, config, output, part=part, half=half)
    rows = {
        "output": str(output),
        "part": part,
        "parameters": sum(each.numel() for each in network.parameters()),
        "patch_size": network.patch_size,
        "fingerprint": network.fingerprint,
    }
    print_json(rows) if json else print_rows(rows)
