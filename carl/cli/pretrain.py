"""``carl pretrain``: images without labels in, a network out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson
from carl.cli.terminal import progress_line, show_facts, show_json


def pretrain(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="What to learn, from what, and where to.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of the run.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Pre-train a network on images without labels, by one of several objectives.

    The file needs `data` (a list of sets, each with `kind` and `path`), `output` and `steps`; all
    else has a default. Watch a run with `tensorboard --logdir OUTPUT`.
    """
    from carl.pretraining.runner import pretrain, require_lightning

    require_lightning()

    from carl.pretraining.pretrain_config import PretrainConfig

    wanted = PretrainConfig.from_file(config)
    with progress_line() as progress:
        result = pretrain(wanted, resume=resume, progress=progress)
    if result is None:  # a process that helps another one
        return
    facts = {
        "model": str(result.model),
        "steps": result.steps,
        "wavelengths": result.wavelength_range_nm,
    }
    low, high = result.wavelength_range_nm
    show_json(facts) if json else show_facts(facts | {"wavelengths": f"{low:g}–{high:g} nm"})
