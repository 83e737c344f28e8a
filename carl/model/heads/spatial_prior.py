"""The spatial prior of a ViT-Adapter: fine detail of an image from any camera, at four scales."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 8


class VirtualColours(nn.Module):
    """A fixed number of colours from any number of bands.

    Each colour is what a filter would let through whose sensitivity over the wavelength is learned:
    a small network gives it from the wavelength encoding. So images of all cameras become images of
    one, at full resolution.

    Args:
        encoding_dim: channels of the wavelength encoding.
        n_colours: of the result.
    """

    def __init__(self, encoding_dim: int, n_colours: int) -> None:
        super().__init__()
        self.sensitivity = nn.Sequential(
            nn.Linear(encoding_dim, encoding_dim), nn.GELU(), nn.Linear(encoding_dim, n_colours)
        )

    def forward(self, image: Tensor, encoding: Tensor) -> Tensor:
        """See an image through the filters.

        Args:
            image: (B, C, H, W).
            encoding: (B, C, E) or (1, C, E) of the wavelengths.

        Returns:
            (B, n_colours, H, W).
        """
        seen = self.sensitivity(encoding).expand(len(image), -1, -1)
        return torch.einsum("bchw,bcn->bnhw", image, seen) / image.shape[1]


class SpatialPrior(nn.Module):
    """A small convolutional network that gives tokens at four scales.

    That of Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions"
    (https://arxiv.org/abs/2205.08534), for spectral images: it looks at virtual colours in place of
    red, green and blue, and the scale of the patches also gets the spectral encoder's features.

    Args:
        encoding_dim: channels of the wavelength encoding.
        embed_dim: D, channels of the spectral features and of the result.
        channels: of the finest scale; doubled twice.
        n_colours: virtual colours.
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
        """Look at an image.

        Args:
            image: (B, C, h·P, w·P), of whole patches.
            encoding: (B, C, E) or (1, C, E) of the wavelengths.
            spectral: (B, D, h, w) features of the patches.

        Returns:
            maps of D channels, from fine to coarse: (4h, 4w), (2h, 2w), (h, w), (⌈h/2⌉, ⌈w/2⌉).
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
    """A convolution with a norm that does not depend on the other images of the batch."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.GroupNorm(_GROUPS, after),
        nn.ReLU(),
    )
