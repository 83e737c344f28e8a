"""Segment hyperspectral and multispectral cubes from any camera.

The names of this package are imported when first used (`carl/__init__.pyi` lists them), so that
``import carl`` is fast and PyTorch is loaded only by what needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
