"""From a name or a file to a network that is ready to use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from carl.errors import ModelError
from carl.model.carl import CARL
from carl.model.checkpoint import read_checkpoint, read_model
from carl.model.config import CARLConfig
from carl.model.device import resolve_device
from carl.model.named_models import DEFAULT_MODEL, NAMED_MODELS, weights_path
from carl.model.pretrained import load_public_weights


def load_model(
    name_or_path: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    config: CARLConfig | Mapping[str, Any] | str | Path | None = None,
) -> CARL:
    """A network in eval mode, ready to use.

    A named network that has no trained weights comes with random ones, always the same, and says so
    in `CARL.trained`. Nothing is ever downloaded here: `download_weights` does that when asked to.

    Args:
        name_or_path: a name from `list_models`, a file of ours, or one of the original's
            checkpoints.
        device: as `resolve_device` takes it.
        config: what an original checkpoint is made of: its JSON or YAML file, or what is in it.

    Raises:
        ModelError: no such name or file, its weights have to be downloaded first, or the file is
            damaged or does not fit the configuration.
    """
    where = resolve_device(device)
    return _load(name_or_path, config).to(where).eval()


def build_model(
    name_or_config: str | CARLConfig = DEFAULT_MODEL, *, pretrained: bool = False, seed: int = 0
) -> CARL:
    """A network that has not been trained on spectral images.

    Args:
        name_or_config: a name from `list_models`, or what to make it of.
        pretrained: start from public weights of timm and DINOv2, which are downloaded if they are
            not in timm's cache.
        seed: of the random weights.

    Raises:
        ModelError: no such name, or public weights were asked for and cannot be had.
    """
    if isinstance(name_or_config, CARLConfig):
        name, config = "carl", name_or_config
    elif name_or_config in NAMED_MODELS:
        name, config = name_or_config, NAMED_MODELS[name_or_config].config
    else:
        raise ModelError(_unknown(name_or_config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CARL(config, name=name)
    if pretrained:
        load_public_weights(model)
    return model


def _load(
    name_or_path: str | Path, config: CARLConfig | Mapping[str, Any] | str | Path | None
) -> CARL:
    path = Path(name_or_path)
    if config is not None:
        return read_checkpoint(path, config)
    if str(name_or_path) in NAMED_MODELS:
        return _load_named(str(name_or_path))
    if not path.is_file():
        raise ModelError(_unknown(name_or_path))
    if path.suffix.lower() in (".ckpt", ".pt", ".pth"):
        raise ModelError(
            f"{path} does not tell what its network is made of: give the configuration (JSON or "
            "YAML) it was trained with."
        )
    return read_model(path)


def _load_named(name: str) -> CARL:
    weights, publication = weights_path(name), NAMED_MODELS[name].publication
    if publication is None:
        return read_model(weights) if weights.is_file() else build_model(name)
    if not weights.is_file():
        raise ModelError(
            f"The weights of {name} are not on this machine: get them by 'carl download {name}'."
        )
    model = read_checkpoint(weights, NAMED_MODELS[name].config)
    model.wavelength_range_um = publication.wavelength_range_um
    return model


def _unknown(name: str | Path) -> str:
    return f"'{name}' is neither a file nor a known model: choose one of {', '.join(NAMED_MODELS)}."
