"""CARL: camera-agnostic representation learning for spectral cubes, without a window.

The names below load their modules when first used, so that ``import carl`` stays quick and PyTorch
is imported only when a model is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from carl.errors import CarlError
from carl.version import __version__

if TYPE_CHECKING:
    from carl.cube import SpectralCube
    from carl.inference import Embedding, embed
    from carl.io import read_cube, read_labels, write_labels
    from carl.learning import Segmenter
    from carl.model import load_model

__all__ = [
    "CarlError",
    "Embedding",
    "Segmenter",
    "SpectralCube",
    "__version__",
    "embed",
    "load_model",
    "read_cube",
    "read_labels",
    "write_labels",
]

_HOME = {
    "SpectralCube": "carl.cube",
    "Embedding": "carl.inference",
    "embed": "carl.inference",
    "read_cube": "carl.io",
    "read_labels": "carl.io",
    "write_labels": "carl.io",
    "Segmenter": "carl.learning",
    "load_model": "carl.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'carl' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
