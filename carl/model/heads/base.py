"""Base classes of the task heads, and functions that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, Self

import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL
from carl.model.heads.factory import Task

_IGNORE_INDEX = -1
"""Target of unlabelled pixels in the cross-entropy: label 0 minus one."""


class FeaturePyramid(Protocol):
    """Interface of modules that compute features at four scales."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps."""

    def __call__(self, carl: CARL, image: Tensor, wavelengths_um: Tensor) -> list[Tensor]:
        """Compute four maps of a normalised image, each at half the resolution of the last.

        Args:
            carl: the network.
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
        """


class Head(nn.Module, ABC):
    """A CARL network with a module for one task on top.

    Args:
        carl: the network, a submodule of the head; trained with it unless `freeze` is called.
        n_classes: K.
    """

    task: ClassVar[Task]

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__()
        self.carl = carl
        self.n_classes = n_classes

    @abstractmethod
    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Compute the logits of an image.

        The softmax of the logits is a probability distribution over the classes; for multi-label
        classification, the sigmoid is the probability of each class.

        Args:
            image: (B, C, H, W), normalised, of any size.
            wavelengths_um: (C,) or (B, C) in µm.

        Returns:
            (B, K, H, W) for segmentation, (B, K) for classification.
        """

    @abstractmethod
    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Compute the training loss.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            labels: classes from 1 with 0 for unlabelled, (B, H, W) for segmentation and (B,) for
                classification; (B, K) zeros and ones for multi-label classification.

        Returns:
            scalar loss; unlabelled pixels and images do not contribute.
        """

    @property
    def frozen(self) -> bool:
        """Whether the weights of the CARL network are excluded from training."""
        return not any(parameter.requires_grad for parameter in self.carl.parameters())

    def freeze(self) -> Self:
        """Exclude the weights of the CARL network from training."""
        self.carl.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or eval mode; a frozen CARL network stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.carl.eval()
        return self


class SegmentationHead(Head):
    """Base class of heads that classify every pixel."""

    task: ClassVar[Task] = "segmentation"

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the labelled pixels; see `Head.loss`."""
        return cross_entropy(self(image, wavelengths_um), labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean cross-entropy over labelled entries; 0 if there is none.

    Args:
        logits: (B, K, ...).
        labels: (B, ...) classes from 1, 0 = unlabelled.
    """
    targets = labels.long() - 1
    total = F.cross_entropy(logits.float(), targets, ignore_index=_IGNORE_INDEX, reduction="sum")
    return total / (targets != _IGNORE_INDEX).sum().clamp(min=1)


def to_pixels(maps: Tensor, patch_size: int, image: Tensor) -> Tensor:
    """Interpolate maps of any resolution to the pixels of an image.

    The maps cover whole patches, including the padding of the image. They are interpolated to all
    patches and then cropped to the image.

    Args:
        maps: (B, K, u, v) covering all patches.
        patch_size: P in pixels.
        image: (B, C, H, W).

    Returns:
        (B, K, H, W) float32.
    """
    height, width = image.shape[-2:]
    padded = [-(-length // patch_size) * patch_size for length in (height, width)]
    pixels = F.interpolate(maps.float(), size=padded, mode="bilinear", align_corners=False)
    return pixels[..., :height, :width]
