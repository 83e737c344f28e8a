"""The linear head: one matrix from the features of a patch to its classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carl.model.carl import CARL, CARLOutput
from carl.model.heads.base import SegmentationHead, to_pixels


class PatchClassifier(nn.Module):
    """A linear classifier of patches by their spatial and spectral features.

    Args:
        embed_dim: D, of the network's features.
        n_classes: K.
    """

    def __init__(self, embed_dim: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * embed_dim)
        self.linear = nn.Linear(2 * embed_dim, n_classes)

    def forward(self, features: CARLOutput) -> Tensor:
        """(B, D, h, w) spatial and spectral features to (B, K, h, w) logits."""
        both = torch.cat([features.spatial, features.spectral], dim=1).movedim(1, -1)
        logits: Tensor = self.linear(self.norm(both))
        return logits.movedim(-1, 1)


class LinearSegmentation(SegmentationHead):
    """A linear classifier of patches, interpolated to pixels.

    Args:
        carl: the network below.
        n_classes: K.
    """

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__(carl, n_classes)
        self.classifier = PatchClassifier(carl.embed_dim, n_classes)

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """(B, K, H, W) logits of an image; see `Head.forward`."""
        logits = self.classifier(self.carl(image, wavelengths_um))
        return to_pixels(logits, self.carl.patch_size, image)
