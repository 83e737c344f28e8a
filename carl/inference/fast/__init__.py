"""A network rewritten for speed: the same function as `carl.inference.backend.PlainBackend`.

- `spectral`: the spectral encoder with everything folded that does not depend on the pixels.
- `linear`: linear layers with weights in oneDNN's packed layout (private operations of PyTorch).
- `attention`: attention in bf16 on a CPU.
"""

from carl.inference.fast.backend import FastBackend

__all__ = ["FastBackend"]
