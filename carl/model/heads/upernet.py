"""UperNet on four scales of features.

Xiao et al. 2018, "Unified Perceptual Parsing for Scene Understanding"
(https://arxiv.org/abs/1807.10221), as transformers has it: the coarsest scale is pooled over the
whole image and its parts, and refines the finer ones from top to bottom. While it is trained, a
small convolutional head (FCN) may look at the third scale by itself and pass on what it learns
(Zhao et al. 2017, "Pyramid Scene Parsing Network", https://arxiv.org/abs/1612.01105, 3.3).
"""

from __future__ import annotations

from torch import Tensor
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

from carl.model.carl import CARL
from carl.model.heads.base import Pyramid, SegmentationHead, cross_entropy, to_pixels
from carl.model.heads.options import UperNetOptions


class UperNet(SegmentationHead):
    """UperNet on a pyramid of CARL's features.

    It normalises over the images of a batch, so it trains on two or more at a time.

    Args:
        carl: the network below.
        n_classes: K.
        pyramid: gives the four scales.
        options: its sizes.
    """

    def __init__(
        self, carl: CARL, n_classes: int, pyramid: Pyramid, options: UperNetOptions
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
        """(B, K, H, W) logits of an image; see `Head.forward`."""
        logits = self.decoder(self.pyramid(self.carl, image, wavelengths_um))
        return to_pixels(logits, self.carl.patch_size, image)

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of labelled pixels, and the auxiliary head's; see `Head.loss`."""
        scales = self.pyramid(self.carl, image, wavelengths_um)

        def of(logits: Tensor) -> Tensor:
            return cross_entropy(to_pixels(logits, self.carl.patch_size, image), labels)

        loss = of(self.decoder(scales))
        if self.auxiliary is not None:
            loss = loss + self.auxiliary_weight * of(self.auxiliary(scales))
        return loss
