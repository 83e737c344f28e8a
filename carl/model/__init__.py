"""The CARL network: camera-agnostic features from an image tensor and its wavelengths in µm.

This package works on tensors only. Its names are imported when first used (see
`carl/model/__init__.pyi`), so that `list_models` does not load PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
