"""Linear heads: classifiers of patches, interpolated to pixels, and of whole images."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL, CARLOutput
from carl.model.heads.base import Head, SegmentationHead, cross_entropy, to_pixels
from carl.model.heads.factory import Task


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
    """Linear classifier of patches, with logits interpolated to pixels."""

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__(carl, n_classes)
        self.classifier = PatchClassifier(carl.embed_dim, n_classes)

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Compute the logits (B, K, H, W) of an image; see `Head.forward`."""
        logits = self.classifier(self.carl(image, wavelengths_um))
        return to_pixels(logits, self.carl.patch_size, image)


class ClassificationHead(Head):
    """Linear classifier of the mean spatial and spectral features of an image."""

    task: ClassVar[Task] = "classification"

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__(carl, n_classes)
        self.norm = nn.LayerNorm(2 * carl.embed_dim)
        self.linear = nn.Linear(2 * carl.embed_dim, n_classes)

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Compute the logits (B, K) of an image; see `Head.forward`."""
        pooled = [features.mean(dim=(2, 3)) for features in self.carl(image, wavelengths_um)]
        logits: Tensor = self.linear(self.norm(torch.cat(pooled, dim=1)))
        return logits

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the labelled images; see `Head.loss`."""
        return cross_entropy(self(image, wavelengths_um), labels)


class MultiLabelClassificationHead(ClassificationHead):
    """Linear classifier for images with any number of classes each."""

    task: ClassVar[Task] = "multilabel"

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean binary cross-entropy over images and classes; see `Head.loss`."""
        logits = self(image, wavelengths_um).float()
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
