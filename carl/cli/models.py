"""``carl models``: which networks there are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from carl.cli.options import AsJson
from carl.cli.terminal import show_json, show_table

if TYPE_CHECKING:
    from carl.model import ModelInfo


def models(json: AsJson = False) -> None:
    """List the networks that can be named after --model, and say which are untrained."""
    from carl.model import list_models

    known = list_models()
    if json:
        show_json([asdict(model) for model in known])
        return
    show_table(
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
