"""Which number format a device computes well in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bf16"]
PRECISIONS = ("auto", "float32", "bf16")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bf16 by instructions made for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # `torch.cpu.get_capabilities` would be public, but is younger than the oldest torch supported.
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
