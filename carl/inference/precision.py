"""Which number format a device computes well in."""

from __future__ import annotations

from typing import Literal

import torch

from carl.errors import ModelError

Precision = Literal["float32", "bf16"]


def choose_precision(precision: str, device: torch.device) -> Precision:
    """The precision to compute in.

    Args:
        precision: ``"float32"``, ``"bf16"``, or ``"auto"``: bf16 where the device has instructions
            for it, which makes the network several times as fast at a cosine of about 0.9999 to
            float32, else float32.
        device: where the model lies.

    Raises:
        ModelError: no such precision.
    """
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "float32"
    if precision == "float32":
        return "float32"
    if precision == "bf16":
        return "bf16"
    raise ModelError(f"'{precision}' is not a precision: choose auto, float32 or bf16.")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bf16 by instructions made for it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # `torch.cpu.get_capabilities` would be public, but is younger than the oldest torch supported.
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
