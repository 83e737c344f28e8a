"""Saving and loading of fitted segmenters: safetensors with a JSON header, never pickles."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from carl.errors import CarlError, ModelError
from carl.files import atomic_write
from carl.inference.options import ComputeOptions
from carl.io import LabelClass
from carl.learning.discriminant_mixture import DiscriminantMixture
from carl.learning.feature_space import FeatureSpace
from carl.model import CARL, list_models, load_model
from carl.model.checkpoint import model_from_metadata, model_metadata
from carl.model.device import resolve_device

_HEADER = "carl_segmenter"
_VERSION = 1
_MIXTURE_ARRAYS = {
    "means": "means",
    "scatter": "scatter",
    "masks": "seen",
    "temperatures": "temperatures",
    "weights": "shares",
}
"""Names in the file of the arrays of a `DiscriminantMixture`."""


@dataclass(frozen=True, eq=False)
class StoredSegmenter:
    """State of a fitted segmenter.

    Attributes:
        space: of its features.
        mixture: fitted.
        names: of the components of the mixture.
        classes: of the mixture.
        model: the network, or None.
        options: of the network's computation.
    """

    space: FeatureSpace
    mixture: DiscriminantMixture
    names: tuple[str, ...]
    classes: tuple[LabelClass, ...]
    model: CARL | None
    options: ComputeOptions


def save_segmenter(path: str | os.PathLike[str], stored: StoredSegmenter) -> None:
    """Write a segmenter, with the weights of its network unless these are installed under its name.

    Raises:
        OutputError: the file cannot be written.
    """
    mixture, model = stored.mixture, stored.model
    tensors = {
        f"space.{name}": torch.from_numpy(np.array(values, order="C"))
        for name, values in stored.space.to_arrays().items()
    }
    for name, key in _MIXTURE_ARRAYS.items():
        tensors[f"head.{key}"] = torch.from_numpy(np.array(getattr(mixture, name), order="C"))
    header: dict[str, Any] = {
        "version": _VERSION,
        "classes": [[each.value, each.name, list(each.colour)] for each in stored.classes],
        "experts": stored.names,
        "accuracy": None if np.isnan(mixture.accuracy) else mixture.accuracy,
        "precision": stored.options.precision,
        "speed": stored.options.speed,
        "model": None,
    }
    if model is not None:
        header["model"] = {"facts": model_metadata(model), "fingerprint": model.fingerprint}
        if not _is_installed(model):
            tensors |= {
                f"model.{name}": tensor.detach().cpu().contiguous()
                for name, tensor in model.state_dict().items()
            }
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(tensors, {_HEADER: json.dumps(header)}))


def load_segmenter(path: str | os.PathLike[str], device: str) -> StoredSegmenter:
    """Read a file written by `save_segmenter`.

    Raises:
        ModelError: the file is missing, damaged or of another kind, or was made with a network
            that is not installed here.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stored = StoredSegmenter(
            FeatureSpace.from_arrays(
                {name: each.numpy() for name, each in _under("space.", tensors).items()}
            ),
            _mixture(_under("head.", tensors), header["accuracy"]),
            tuple(header["experts"]),
            tuple(
                LabelClass(int(value), str(name), (int(r), int(g), int(b)))
                for value, name, (r, g, b) in header["classes"]
            ),
            _model(header["model"], _under("model.", tensors), path, device),
            ComputeOptions(precision=header["precision"], speed=header["speed"]),
        )
    except ModelError:
        raise
    except (
        CarlError, KeyError, TypeError, ValueError, OSError, safetensors.SafetensorError
    ) as error:  # fmt: skip
        raise ModelError(
            f"{path} cannot be read as a saved segmenter: it is missing, damaged or of another "
            "kind."
        ) from error
    _check_sizes(stored, path)
    return stored


def _mixture(tensors: dict[str, Tensor], accuracy: float | None) -> DiscriminantMixture:
    arrays = {name: tensors[key].numpy() for name, key in _MIXTURE_ARRAYS.items()}
    known = float("nan") if accuracy is None else float(accuracy)
    return DiscriminantMixture(**arrays, accuracy=known)


def _model(
    header: dict[str, Any] | None, weights: dict[str, Tensor], path: Path, device: str
) -> CARL | None:
    if header is None:
        return None
    if weights:
        model = model_from_metadata(header["facts"], weights, path).to(resolve_device(device))
    else:
        model = load_model(str(header["facts"]["name"]), device)
    if model.fingerprint != header["fingerprint"]:
        raise ModelError(
            f"{path} was made with other weights of {model.name} than are installed here: fit it "
            "again, or install the version it was made with."
        )
    return model


def _is_installed(model: CARL) -> bool:
    # Random weights may differ in the last digit on another machine, so they are written out.
    if not model.trained or model.name not in {info.name for info in list_models()}:
        return False
    return load_model(model.name, "cpu").fingerprint == model.fingerprint


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
    }


def _check_sizes(stored: StoredSegmenter, path: Path) -> None:
    n_classes, n_features = stored.mixture.means.shape
    if n_features != stored.space.width or n_classes != len(stored.classes):
        raise ModelError(f"{path} contradicts itself and is damaged: save the segmenter again.")
