"""Linear segmentation head: a linear classifier of patch features, interpolated to pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from carl.model.carl import CARL, CARLOutput
from carl.model.heads.base import SegmentationHead, to_pixels


class PatchClassifier(nn.Module):
    """LayerNorm and linear layer on the concatenated spatial and spectral features of a patch.

    Args:
        embed_dim: D, channels of each of the two feature maps.
        n_classes: K.
    """

    def __init__(self, embed_dim: int, n_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * embed_dim)
        self.linear = nn.Linear(2 * embed_dim, n_classes)

    def forward(self, features: CARLOutput) -> Tensor:
        """Compute logits (B, K, h, w) from spatial and spectral features (B, D, h, w)."""
        both = torch.cat([features.spatial, features.spectral], dim=1).movedim(1, -1)
        logits: Tensor = self.linear(self.norm(both))
        return logits.movedim(-1, 1)


class LinearSegmentationHead(SegmentationHead):
    """Linear classifier of patches, with logits interpolated to pixels.

    Args:
        carl: the network.
        n_classes: K.
    """

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__(carl, n_classes)
        self.classifier = PatchClassifier(carl.embed_dim, n_classes)

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Compute the logits (B, K, H, W) of an image; see `Head.forward`."""
        logits = self.classifier(self.carl(image, wavelengths_um))
        return to_pixels(logits, self.carl.patch_size, image)
