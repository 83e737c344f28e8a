"""UperNet: segmentation from a feature pyramid with pyramid pooling and top-down fusion.

Xiao et al. 2018, "Unified Perceptual Parsing for Scene Understanding"
(https://arxiv.org/abs/1807.10221), in the implementation of transformers. Optionally, an auxiliary
convolutional head (FCN) on the third scale adds to the training loss, as in Zhao et al. 2017,
"Pyramid Scene Parsing Network" (https://arxiv.org/abs/1612.01105).
"""

from __future__ import annotations

from torch import Tensor
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

from carl.model.carl import CARL
from carl.model.heads.base import FeaturePyramid, SegmentationHead, cross_entropy, to_pixels
from carl.model.heads.factory import UperNetOptions


class UperNet(SegmentationHead):
    """UperNet on a feature pyramid of CARL.

    It contains BatchNorm layers: training batches need two or more images.
    """

    def __init__(
        self, carl: CARL, n_classes: int, pyramid: FeaturePyramid, options: UperNetOptions
    ) -> None:
        super().__init__(carl, n_classes)
        self.pyramid = pyramid
        config = UperNetConfig(
            num_labels=n_classes,
            hidden_size=options.hidden_size,
            auxiliary_channels=max(1, options.hidden_size // 2),
        )
        self.decoder = UperNetHead(config, list(pyramid.channels))
        self.auxiliary_weight = options.auxiliary_weight
        self.auxiliary: UperNetFCNHead | None = None
        if options.auxiliary_weight:
            self.auxiliary = UperNetFCNHead(config, list(pyramid.channels))

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Compute the logits (B, K, H, W) of an image; see `Head.forward`."""
        logits = self.decoder(self.pyramid(self.carl, image, wavelengths_um))
        return to_pixels(logits, self.carl.patch_size, image)

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Compute L + w·L_auxiliary, both mean cross-entropies of labelled pixels."""
        scales = self.pyramid(self.carl, image, wavelengths_um)

        def pixel_loss(logits: Tensor) -> Tensor:
            return cross_entropy(to_pixels(logits, self.carl.patch_size, image), labels)

        loss = pixel_loss(self.decoder(scales))
        if self.auxiliary is not None:
            loss = loss + self.auxiliary_weight * pixel_loss(self.auxiliary(scales))
        return loss
