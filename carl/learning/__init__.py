"""Fit segmenters to labelled pixels, fine-tune networks, and score label maps.

The names of this package are imported when first used; see `carl/learning/__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
