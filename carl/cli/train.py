"""``carl train``: labelled images in, a network for a task out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson, Device
from carl.cli.outputs import check_output
from carl.cli.terminal import kept, progress_line, show_facts, show_json


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="What to train, on what, and where to.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of the training.")
    ] = False,
    device: Device = "auto",
    json: AsJson = False,
) -> None:
    """Train a head on a network, for many labels; for a few strokes, `carl fit` does better.

    The file needs `output` (NAME.carl) and either `pairs` (a list of `cube` and `labels`) or
    `geobench` (a folder); all else has a default. `head` is linear, vit-adapter-upernet,
    vit-adapter-mask2former, swin-mask2former, classification or multilabel. `carl predict` takes
    the result. A training that was stopped goes on with --resume.
    """
    from carl.learning.head_training.train_config import SUFFIX, TrainConfig

    wanted = TrainConfig.from_file(config)
    pairs = (*wanted.pairs, *wanted.validation)
    inputs = [path for each in pairs for path in (each.cube, each.labels)]
    check_output(wanted.output, SUFFIX, inputs)

    from carl.learning import head_training

    going_on = "go on from the last checkpoint with --resume."
    with progress_line() as progress, kept(wanted.checkpoint, going_on):
        result = head_training.train(
            wanted,
            device=device,
            checkpoint=wanted.checkpoint,
            resume=resume,
            progress=progress,
        )
    result.trained.save(wanted.output)
    wanted.checkpoint.unlink(missing_ok=True)
    facts = {
        "output": str(wanted.output),
        "head": wanted.head.name,
        "classes": [each.name for each in result.trained.classes],
        "steps": len(result.history),
        "loss": result.history[-1].loss,
        "scores": result.scores,
    }
    if json:
        show_json(facts)
        return
    show_facts(
        {
            "output": wanted.output,
            "head": wanted.head.name,
            "classes": ", ".join(each.name for each in result.trained.classes),
            **{f"held-out {name}": f"{value:.3f}" for name, value in result.scores.items()},
        }
    )
