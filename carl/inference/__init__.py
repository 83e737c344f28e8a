"""Compute the features of a cube with a network.

The names of this package are imported when first used; see `carl/inference/__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
