"""``carl evaluate``: how well a label map agrees with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carl.cli.options import AsJson
from carl.cli.terminal import show_facts, show_json


def evaluate(
    predicted: Annotated[Path, typer.Argument(metavar="PREDICTED", help="A label map.")],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="The true one; pixels with 0 are left out.")
    ],
    json: AsJson = False,
) -> None:
    """Compare a label map with the truth: accuracy, IoU per class and their mean."""
    from carl.io import read_labels
    from carl.learning import metrics

    true_map = read_labels(truth)
    guess = read_labels(predicted, shape=true_map.labels.shape)
    scores = metrics.evaluate(guess.labels, true_map.labels)
    if json:
        show_json(
            {
                "accuracy": scores.accuracy,
                "miou": scores.miou,
                "iou": scores.iou,
                "values": scores.values,
                "confusion": scores.confusion,
                "pixels": scores.n_pixels,
            }
        )
        return
    names = {each.value: each.name for each in (*guess.classes, *true_map.classes)}
    show_facts(
        {
            "pixels": scores.n_pixels,
            "accuracy": f"{scores.accuracy:.4f}",
            "mIoU": f"{scores.miou:.4f}",
            **{f"IoU {names.get(k, k)}": f"{iou:.4f}" for k, iou in scores.iou.items()},
        }
    )
