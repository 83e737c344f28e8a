"""Wavelengths as positions: what lets one network read the bands of any camera."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class WavelengthEncoding(nn.Module):
    """Random Fourier features of wavelength.

    Pairs of neighbouring channels share a frequency b ~ 2π·N(0, σ²): the even one is sin(λb), the
    odd one cos(λb). The frequencies are saved with the weights; new ones come from a generator of
    their own with seed 0, so that separately built networks agree.

    Args:
        dim: D, channels; even.
        sigma: σ in 1/µm; 0 gives zeros, a network that does not know its wavelengths.
    """

    frequencies: Tensor

    def __init__(self, dim: int, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        draws = torch.randn(dim // 2, generator=torch.Generator().manual_seed(0))
        frequencies = 2 * math.pi * (draws * sigma)
        self.register_buffer("frequencies", frequencies.repeat_interleave(2))

    def forward(self, wavelengths_um: Tensor) -> Tensor:
        """Encode wavelengths.

        Args:
            wavelengths_um: (...) in µm.

        Returns:
            (..., D) float32, whatever the precision of the network.
        """
        phase = wavelengths_um.float()[..., None] * self.frequencies
        if self.sigma == 0:
            return torch.zeros_like(phase)
        return torch.stack((phase[..., 0::2].sin(), phase[..., 1::2].cos()), dim=-1).flatten(-2)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> WavelengthEncoding:
        # Phases reach hundreds of radians, of which half precision keeps nothing: the frequencies
        # follow the network to another device, but never to another number format.
        exact = self.frequencies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.frequencies = exact.to(self.frequencies.device)
        return self
