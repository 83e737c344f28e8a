"""``carl import``: a network of the original's into a file of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson
from carl.cli.outputs import check_output
from carl.cli.terminal import show_facts, show_json


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT.ckpt", help="A Lightning checkpoint of CARL.")
    ],
    config: Annotated[
        Path,
        typer.Option(
            metavar="CONFIG", help="What its network is made of: the JSON or YAML it came with."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="NAME.safetensors", help="Where the network goes."),
    ],
    teacher: Annotated[
        bool,
        typer.Option("--teacher", help="Take the teacher of self-supervision, not the student."),
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Write it in half precision.")] = False,
    json: AsJson = False,
) -> None:
    """Turn a checkpoint of the original CARL into a model for --model; no code in it is run."""
    check_output(output, ".safetensors", [checkpoint, config])

    from carl.model import read_checkpoint, save_model

    network = read_checkpoint(checkpoint, config, "teacher" if teacher else "student")
    network.name = output.stem
    save_model(network, output, half=half)
    facts = {
        "output": str(output),
        "part": "teacher" if teacher else "student",
        "parameters": sum(each.numel() for each in network.parameters()),
        "patch_size": network.patch_size,
        "fingerprint": network.fingerprint,
    }
    show_json(facts) if json else show_facts(facts)
