"""What all heads share: a CARL network below, logits above, and a loss to train them by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, Self

import torch.nn.functional as F
from torch import Tensor, nn

from carl.model.carl import CARL
from carl.model.heads.factory import Task

_UNLABELLED = -1


class Pyramid(Protocol):
    """A module that gives features at four scales."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the four maps."""

    def __call__(self, carl: CARL, image: Tensor, wavelengths_um: Tensor) -> list[Tensor]:
        """Four maps of an image (B, C, H, W), each half as fine as the one before."""


class Head(nn.Module, ABC):
    """A network for a task, made of a CARL network and what is trained on top of it.

    Args:
        carl: the network below; part of this module, and trained with it unless frozen.
        n_classes: K.
    """

    task: ClassVar[Task]

    def __init__(self, carl: CARL, n_classes: int) -> None:
        super().__init__()
        self.carl = carl
        self.n_classes = n_classes

    @abstractmethod
    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Logits of an image; their softmax, or sigmoid where labels are several, is a probability.

        Args:
            image: (B, C, H, W), normalised, of any size.
            wavelengths_um: (C,) or (B, C) in µm.

        Returns:
            (B, K, H, W) of a segmentation, (B, K) of a classification.
        """

    @abstractmethod
    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """What training makes small.

        Args:
            image: (B, C, H, W), normalised.
            wavelengths_um: (C,) or (B, C) in µm.
            labels: (B, H, W) classes from 1 of a segmentation and (B,) of a classification, where 0
                is unlabelled and does not count; (B, K) zeros and ones where labels are several.

        Returns:
            a scalar.
        """

    @property
    def frozen(self) -> bool:
        """Whether the CARL network is left as it is."""
        return not any(parameter.requires_grad for parameter in self.carl.parameters())

    def freeze(self) -> Self:
        """Train the head alone; the network below stays as it is."""
        self.carl.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen network stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.carl.eval()
        return self


class SegmentationHead(Head):
    """A head that tells the class of every pixel."""

    task: ClassVar[Task] = "segmentation"

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of labelled pixels; see `Head.loss`."""
        return cross_entropy(self(image, wavelengths_um), labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of what is labelled; 0 where nothing is.

    Args:
        logits: (B, K, ...).
        labels: (B, ...) classes from 1, 0 = unlabelled.
    """
    targets = labels.long() - 1
    total = F.cross_entropy(logits.float(), targets, ignore_index=_UNLABELLED, reduction="sum")
    return total / (targets != _UNLABELLED).sum().clamp(min=1)


def to_pixels(maps: Tensor, patch_size: int, image: Tensor) -> Tensor:
    """Maps of any resolution interpolated to the pixels of an image.

    The network extends images to whole patches: maps span the patches, so they are interpolated to
    all of them and what lies beyond the image is cut off.

    Args:
        maps: (B, K, u, v) over all patches.
        patch_size: P, pixels.
        image: (B, C, H, W).

    Returns:
        (B, K, H, W) float32.
    """
    height, width = image.shape[-2:]
    whole = [-(-length // patch_size) * patch_size for length in (height, width)]
    pixels = F.interpolate(maps.float(), size=whole, mode="bilinear", align_corners=False)
    return pixels[..., :height, :width]
