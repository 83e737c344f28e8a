"""Weights in and out of files; no file is ever trusted to run code.

Ours are safetensors whose header holds, as JSON under "carl", all it takes to build the network.
The original's are Lightning checkpoints: a student under ``model.``, a teacher under ``teacher.``.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from carl.errors import ModelError
from carl.files import atomic_write
from carl.model.carl import CARL
from carl.model.config import CARLConfig

Part = Literal["student", "teacher"]

_HEADER = "carl"
_PREFIXES: dict[Part, str] = {"student": "model.", "teacher": "teacher."}

# Our names, and what stands in their place in the original's checkpoints; the first that fits.
_ORIGINAL_NAMES = {
    "patch_embedding.": "embedder.",
    "spectral_encoder.wavelength_encoding.frequencies": "spectral_tf.positional_embedding.dims",
    "spectral_encoder.": "spectral_tf.",
    "connector.": "linear_connector.",
    "spatial_encoder.": "spatial_encoder.net.",
}
# What the original saves beside the network: predictors of its self-supervision, and parts of the
# backbone that are never run.
_BESIDE = re.compile(
    r"(spectral_predictor|spatial_predictor)\."
    r"|spatial_encoder\.net\.(?!blocks\.|pos_embed$|(cls|dist|reg)_token$|rope\.freqs$)"
)
_NAMES_SHOWN = 4


def read_checkpoint(
    path: str | Path, config: CARLConfig | Mapping[str, Any] | str | Path, part: Part = "student"
) -> CARL:
    """The network from one of the original's Lightning checkpoints.

    Args:
        path: the ``.ckpt`` file: of self-supervision, or of a probe on top of the network.
        config: what the network is made of, or the JSON or YAML file that tells.
        part: which of the two networks of self-supervision.

    Returns:
        the network in eval mode, on the CPU, called as the file.

    Raises:
        ModelError: the file is not such a checkpoint, holds code, or does not fit the
            configuration.
    """
    path = Path(path)
    with unseen_random_numbers():
        model = CARL(_as_config(config), name=path.stem, trained=True)
    weights = weights_of(part, read_state_dict(path), path)
    weights = {name: tensor for name, tensor in weights.items() if not _BESIDE.match(name)}
    fill(model, weights, path, {name: original_name(name) for name in model.state_dict()})
    return model.eval()


def read_model(path: str | Path) -> CARL:
    """The network from a file of ours, in eval mode, on the CPU.

    Raises:
        ModelError: it is not such a file, or damaged.
    """
    path = Path(path)
    header = read_header(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(_damaged(path)) from error
    return from_facts(header, weights, path)


def facts_of(model: CARL) -> dict[str, Any]:
    """All it takes to build the network but its weights, as plain JSON."""
    return {
        "name": model.name,
        "config": model.config.to_dict(),
        "trained": model.trained,
        "normalisation": model.normalisation,
        "wavelength_range_um": model.wavelength_range_um,
    }


def from_facts(facts: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> CARL:
    """The inverse of `facts_of`, in eval mode, on the CPU.

    Args:
        facts: of the network.
        weights: by name.
        path: of the file they come from, for messages.

    Raises:
        ModelError: facts are missing, or the weights do not fit them.
    """
    try:
        limits = facts["wavelength_range_um"]
        normalisation = facts["normalisation"]
        with unseen_random_numbers():
            model = CARL(
                CARLConfig.from_dict(facts["config"]),
                name=str(facts["name"]),
                trained=bool(facts["trained"]),
                normalisation=None if normalisation is None else _pair(normalisation),
                wavelength_range_um=None if limits is None else _pair(limits),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(_damaged(path)) from error
    fill(model, weights, path)
    return model.eval()


def read_header(path: str | Path) -> dict[str, Any]:
    """What a file of ours says about its network, without reading the weights or loading PyTorch.

    Raises:
        ModelError: it is not such a file.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
    except (KeyError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise ModelError(_damaged(Path(path))) from error
    if not isinstance(header, dict):
        raise ModelError(_damaged(Path(path)))
    return header


def save_model(model: CARL, path: str | Path, *, half: bool = False) -> None:
    """Write the network to one safetensors file, or nothing at all.

    Args:
        model: any CARL network.
        path: of the file, usually ``*.safetensors``.
        half: write the learned weights in half precision.

    Raises:
        OutputError: it cannot be written.
    """
    learned = {name for name, _ in model.named_parameters()}
    weights = {
        name: tensor.detach().cpu().to(torch.half if half and name in learned else tensor.dtype)
        for name, tensor in model.state_dict().items()
    }
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(weights, {_HEADER: json.dumps(facts_of(model))}))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a Lightning or PyTorch checkpoint by name, read without running any code.

    Raises:
        ModelError: the file cannot be read, holds more than plain data, or no tensors.
    """
    try:
        # Mapped into memory where the format allows: optimiser states are never read then.
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is damaged, or holds more than plain weights and is refused, as loading it "
            "could run code: save its state_dict alone."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError) as error:
        raise ModelError(
            f"{path} cannot be read as a checkpoint: it is missing, damaged or of another kind."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(each, Tensor) for each in state.values()):
        raise ModelError(f"{path} is not a checkpoint of CARL: it has no weights by name.")
    return {str(name): tensor for name, tensor in state.items()}


def weights_of(part: Part, state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """One network's weights of a checkpoint, by names without the part's prefix.

    Args:
        part: which network.
        state: all tensors of the checkpoint; a network saved alone has no prefix and is a
            student.
        path: of the file, for messages.

    Raises:
        ModelError: the checkpoint has no such network.
    """
    if part == "student" and any(name.startswith("spectral_tf.") for name in state):
        return dict(state)
    prefix = _PREFIXES[part]
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    if not weights:
        raise ModelError(
            f"{path} holds no {part} of CARL: its names begin with "
            f"{_shortened(sorted({name.split('.')[0] for name in state})) or 'nothing'}."
        )
    return weights


def fill(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    path: Path,
    names_in_file: Mapping[str, str] | None = None,
) -> None:
    """Give a module all of its weights, and use all that are given.

    Args:
        module: to be filled.
        weights: by their names in the file.
        path: of the file, for messages.
        names_in_file: by names in the module; the same by default.

    Raises:
        ModelError: weights are missing, left over, or of another shape; their names are listed.
    """
    own = module.state_dict()
    names = {name: name for name in own} if names_in_file is None else names_in_file
    wrong = {
        "missing": [theirs for theirs in names.values() if theirs not in weights],
        "unexpected": sorted(set(weights) - set(names.values())),
        "of another shape": [
            f"{theirs} {tuple(weights[theirs].shape)} instead of {tuple(own[ours].shape)}"
            for ours, theirs in names.items()
            if theirs in weights and weights[theirs].shape != own[ours].shape
        ],
    }
    if any(wrong.values()):
        complaints = "; ".join(
            f"{len(each)} {what}: {_shortened(each)}" for what, each in wrong.items() if each
        )
        raise ModelError(f"{path} does not fit the configuration of the network ({complaints}).")
    module.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})


def unseen_random_numbers() -> AbstractContextManager[None]:
    """A context for making a module whose weights are about to come from a file.

    The random ones that it has until then are not drawn from the caller's random numbers.
    """
    context: AbstractContextManager[None] = torch.random.fork_rng(devices=[])
    return context


def original_name(name: str) -> str:
    """What the original calls one of our weights."""
    for ours, theirs in _ORIGINAL_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _as_config(config: CARLConfig | Mapping[str, Any] | str | Path) -> CARLConfig:
    if isinstance(config, CARLConfig):
        return config
    return (
        CARLConfig.from_dict(config)
        if isinstance(config, Mapping)
        else CARLConfig.from_file(config)
    )


def _pair(values: Iterable[float]) -> tuple[float, float]:
    first, second = (float(value) for value in values)
    return first, second


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _damaged(path: Path) -> str:
    return f"{path} cannot be read as a CARL model: it is missing, damaged or of another kind."
