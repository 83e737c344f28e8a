"""The CARL network: camera-agnostic features from an image tensor and its wavelengths in µm.

This package works on tensors only. Public names are imported on first use, so that `list_models`
does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carl.model.carl import CARL, CARLOutput
    from carl.model.checkpoint import read_checkpoint, read_model, save_model
    from carl.model.config import CARLConfig
    from carl.model.device import device_label, resolve_device
    from carl.model.download import download_weights
    from carl.model.loading import build_model, import_checkpoint, load_model, load_public_weights
    from carl.model.named_models import ModelInfo, list_models

__all__ = [
    "CARL",
    "CARLConfig",
    "CARLOutput",
    "ModelInfo",
    "build_model",
    "device_label",
    "download_weights",
    "import_checkpoint",
    "list_models",
    "load_model",
    "load_public_weights",
    "read_checkpoint",
    "read_model",
    "resolve_device",
    "save_model",
]

_MODULES = {
    "CARL": "carl",
    "CARLOutput": "carl",
    "CARLConfig": "config",
    "ModelInfo": "named_models",
    "list_models": "named_models",
    "build_model": "loading",
    "import_checkpoint": "loading",
    "load_model": "loading",
    "load_public_weights": "loading",
    "download_weights": "download",
    "read_checkpoint": "checkpoint",
    "read_model": "checkpoint",
    "save_model": "checkpoint",
    "device_label": "device",
    "resolve_device": "device",
}
"""Module of this package that defines each public name."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'carl.model' has no attribute '{name}'")
    return getattr(import_module(f"carl.model.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
