"""Spatial prior module of the ViT-Adapter, for images with any bands."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NORM_GROUPS = 8
"""Groups of the GroupNorms; divides all channel numbers that `AdapterOptions` accepts."""


class VirtualColours(nn.Module):
    """Projection of any number of bands to a fixed number of virtual colours.

    Each virtual colour has a learned spectral response function, which a small network computes
    from the wavelength encoding. Images of all cameras are thus mapped to the same channels, at
    full resolution.

    Args:
        encoding_dim: E, channels of the wavelength encoding.
        n_colours: number of virtual colours.
    """

    def __init__(self, encoding_dim: int, n_colours: int) -> None:
        super().__init__()
        self.sensitivity = nn.Sequential(
            nn.Linear(encoding_dim, encoding_dim), nn.GELU(), nn.Linear(encoding_dim, n_colours)
        )

    def forward(self, image: Tensor, encoding: Tensor) -> Tensor:
        """Compute the virtual colours of an image.

        Args:
            image: (B, C, H, W).
            encoding: (B, C, E) or (1, C, E) wavelength encoding.

        Returns:
            (B, n_colours, H, W).
        """
        # colour_n(x) = 1/C Σ_c s_n(λ_c)·image_c(x), with the responses s_n.
        responses = self.sensitivity(encoding).expand(len(image), -1, -1)
        return torch.einsum("bchw,bcn->bnhw", image, responses) / image.shape[1]


class SpatialPrior(nn.Module):
    """Convolutional network that computes feature maps at four scales.

    The spatial prior module of Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions"
    (https://arxiv.org/abs/2205.08534), with virtual colours in place of red, green and blue. The
    spectral features are added at the scale of the patches.

    Args:
        encoding_dim: E, channels of the wavelength encoding.
        embed_dim: D, channels of the spectral features and of the maps.
        channels: channels of the finest scale; doubled at the next two scales.
        n_colours: number of virtual colours.
    """

    def __init__(
        self, encoding_dim: int, embed_dim: int, channels: int = 64, n_colours: int = 16
    ) -> None:
        super().__init__()
        widths = (channels, 2 * channels, 4 * channels, 4 * channels)
        self.colours = VirtualColours(encoding_dim, n_colours)
        self.stem = nn.Sequential(_conv(n_colours, channels), _conv(channels, channels))
        self.down = nn.ModuleList(
            _conv(before, after, stride=2) for before, after in pairwise(widths)
        )
        self.spectral = nn.Conv2d(embed_dim, widths[2], 1)
        self.out = nn.ModuleList(nn.Conv2d(width, embed_dim, 1) for width in widths)

    def forward(self, image: Tensor, encoding: Tensor, spectral: Tensor) -> list[Tensor]:
        """Compute the feature maps of an image.

        Args:
            image: (B, C, h·P, w·P), padded to whole patches.
            encoding: (B, C, E) or (1, C, E) wavelength encoding.
            spectral: (B, D, h, w) spectral features.

        Returns:
            maps of D channels from fine to coarse: (4h, 4w), (2h, 2w), (h, w), (⌈h/2⌉, ⌈w/2⌉).
        """
        h, w = spectral.shape[-2:]
        colours = F.adaptive_avg_pool2d(self.colours(image, encoding), (4 * h, 4 * w))
        scales = [self.stem(colours)]
        for down in self.down:
            scales.append(down(scales[-1]))
            if len(scales) == 3:
                scales[-1] = scales[-1] + self.spectral(spectral)
        return [out(scale) for out, scale in zip(self.out, scales, strict=True)]


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Return 3 × 3 convolution, GroupNorm (independent of the batch, unlike BatchNorm) and ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.GroupNorm(_NORM_GROUPS, after),
        nn.ReLU(),
    )
