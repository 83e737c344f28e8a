"""UperNet on four scales of features.

Xiao et al. 2018, "Unified Perceptual Parsing for Scene Understanding"
(https://arxiv.org/abs/1807.10221), as transformers has it: the coarsest scale is pooled over the
whole image and its parts, and refines the finer ones from top to bottom.
"""

from __future__ import annotations

from torch import Tensor
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetHead

from carl.model.carl import CARL
from carl.model.heads.base import Pyramid, SegmentationHead, to_pixels
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
        config = UperNetConfig(num_labels=n_classes, hidden_size=options.hidden_size)
        self.decoder = UperNetHead(config, list(pyramid.channels))

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """(B, K, H, W) logits of an image; see `Head.forward`."""
        logits = self.decoder(self.pyramid(self.carl, image, wavelengths_um))
        return to_pixels(logits, self.carl.patch_size, image)
