"""The classification heads: one class, or any number of classes, for a whole image."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL
from carl.model.heads.base import Head, cross_entropy
from carl.model.heads.factory import Task


class Classification(Head):
    """A linear classifier of an image by the means of its features.

    Args:
        carl: the network below.
        n_classes: K.
    """

    task: ClassVar[Task] = "classification"

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__(carl, n_classes)
        self.norm = nn.LayerNorm(2 * carl.embed_dim)
        self.linear = nn.Linear(2 * carl.embed_dim, n_classes)

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """(B, K) logits of an image; see `Head.forward`."""
        pooled = [each.mean(dim=(2, 3)) for each in self.carl(image, wavelengths_um)]
        logits: Tensor = self.linear(self.norm(torch.cat(pooled, dim=1)))
        return logits

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy; see `Head.loss`."""
        return cross_entropy(self(image, wavelengths_um), labels)


class MultiLabelClassification(Classification):
    """The same for images that may show several classes, each of which is there or not."""

    task: ClassVar[Task] = "multilabel"

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Mean binary cross-entropy over images and classes; see `Head.loss`."""
        logits = self(image, wavelengths_um).float()
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
