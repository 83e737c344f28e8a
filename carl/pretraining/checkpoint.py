"""Student, teacher and predictors from the original's checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carl.model.checkpoint import load_weights, read_checkpoint, read_state_dict, select_weights
from carl.model.config import CARLConfig
from carl.pretraining.module import CARLSSL

_POSITION_CODE = "spatial_predictor.predictor_pos_embed"
"""Saved by the original; here computed for the grid at hand."""


def read_ssl_checkpoint(
    path: str | Path, config: CARLConfig | Mapping[str, Any] | str | Path
) -> CARLSSL:
    """Student, teacher and predictors from one of the original's checkpoints of self-supervision.

    Args:
        path: the ``.ckpt`` file.
        config: what the networks are made of, or the JSON or YAML file that tells.

    Raises:
        ModelError: the file is not such a checkpoint, holds code, or does not fit the
            configuration.
    """
    path = Path(path)
    module = CARLSSL(read_checkpoint(path, config))
    teacher = read_checkpoint(path, module.student.config, "teacher")
    module.teacher.load_state_dict(teacher.state_dict())
    weights = select_weights("student", read_state_dict(path), path)
    for name in ("spectral_predictor", "spatial_predictor"):
        predictor = module.get_submodule(name)
        theirs = {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in weights.items()
            if key.startswith(f"{name}.") and key != _POSITION_CODE
        }
        load_weights(
            predictor, theirs, path, {key: _original_name(key) for key in predictor.state_dict()}
        )
    return module


def _original_name(name: str) -> str:
    """What the original calls one of a predictor's weights."""
    if name == "wavelength_encoding.frequencies":
        return "positional_embedding.dims"
    if name in ("queries_pos_enc", "mask_token"):
        return name
    return f"predictor_{name}"
