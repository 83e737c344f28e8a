from .carl import CARL, CARLOutput
from .checkpoint import read_checkpoint, read_model, save_model
from .config import CARLConfig
from .device import device_label, resolve_device
from .download import download_weights
from .loading import build_model, import_checkpoint, load_model, load_public_weights
from .named_models import ModelInfo, list_models

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
