"""Wavelength encoding: random Fourier features of the band wavelengths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class WavelengthEncoding(nn.Module):
    """Positional encoding of wavelengths by random Fourier features.

    Fourier features after Tancik et al. 2020 (https://arxiv.org/abs/2006.10739), as used by CARL
    (https://arxiv.org/abs/2504.19223). The frequencies are a buffer saved with the
    weights. New ones are drawn from a private generator with seed 0, so that separately built
    networks share them.

    Args:
        dim: D, number of channels; must be even.
        sigma: σ, standard deviation of the frequencies in cycles per µm; 0 disables the encoding
            (all zeros).
    """

    frequencies: Tensor

    def __init__(self, dim: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        # b_i = 2π·σ·n_i with n_i ~ N(0, 1), one for each pair of channels (2i, 2i + 1).
        normal = torch.randn(dim // 2, generator=torch.Generator().manual_seed(0))
        frequencies = 2 * math.pi * (normal * sigma)
        self.register_buffer("frequencies", frequencies.repeat_interleave(2))

    def forward(self, wavelengths_um: Tensor) -> Tensor:
        """Encode wavelengths.

        Args:
            wavelengths_um: (...) in µm.

        Returns:
            (..., D) float32, also when the network runs in lower precision.
        """
        phase = wavelengths_um.float()[..., None] * self.frequencies
        if self.sigma == 0:
            return torch.zeros_like(phase)
        # Channel 2i is sin(λ·b_i), channel 2i + 1 is cos(λ·b_i).
        return torch.stack((phase[..., 0::2].sin(), phase[..., 1::2].cos()), dim=-1).flatten(-2)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> WavelengthEncoding:
        # Phases reach hundreds of radians, where half precision resolves no angle. Therefore
        # `to`, `half` and similar calls move the frequencies to the device but keep float32.
        exact = self.frequencies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.frequencies = exact.to(self.frequencies.device)
        return self
