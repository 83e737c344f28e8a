"""Mask2Former on four scales of features.

Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image Segmentation"
(https://arxiv.org/abs/2112.01527), as transformers has it: queries each name a class and draw a
mask, and a pixel's class is what the queries whose masks hold it say.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerPreTrainedModel
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
)

from carl.errors import ModelError
from carl.model.carl import CARL
from carl.model.heads.base import Pyramid, SegmentationHead, to_pixels
from carl.model.heads.mask2former_loss import LabelledPointsLoss, labelled_points, values_at
from carl.model.heads.options import Mask2FormerOptions

_LEAST_SCORE = 1e-6


class MaskPrediction(NamedTuple):
    """What the queries say after a layer.

    Attributes:
        classes: (B, Q, K + 1) logits of each query's class; the last one is "none".
        masks: (B, Q, u, v) logits of its mask.
    """

    classes: Tensor
    masks: Tensor


class Mask2FormerDecoder(Mask2FormerPreTrainedModel):  # type: ignore[misc]  # is not typed
    """The parts of transformers' Mask2Former that come after its backbone.

    Args:
        channels: of the four maps.
        n_classes: K.
        options: sizes.
    """

    def __init__(
        self, channels: tuple[int, ...], n_classes: int, options: Mask2FormerOptions
    ) -> None:
        width = options.hidden_size
        config = Mask2FormerConfig(
            num_labels=n_classes,
            feature_size=width,
            mask_feature_size=width,
            hidden_dim=width,
            encoder_feedforward_dim=4 * width,
            dim_feedforward=8 * width,
            num_attention_heads=options.num_heads,
            encoder_layers=options.encoder_layers,
            decoder_layers=options.decoder_layers,
            num_queries=options.queries,
        )
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, list(channels))
        self.transformer = Mask2FormerTransformerModule(width, config)
        self.class_predictor = nn.Linear(width, n_classes + 1)
        self.criterion = LabelledPointsLoss(config)
        self.post_init()

    def forward(self, maps: list[Tensor]) -> list[MaskPrediction]:
        """What the queries say before the first layer and after each.

        Args:
            maps: four, from fine to coarse, each half as fine as the one before.
        """
        pixels = self.pixel_decoder(maps)
        decoded = self.transformer(pixels.multi_scale_features, pixels.mask_features)
        return [
            MaskPrediction(self.class_predictor(queries.transpose(0, 1)), masks)
            for queries, masks in zip(
                decoded.intermediate_hidden_states, decoded.masks_queries_logits, strict=True
            )
        ]


class Mask2Former(SegmentationHead):
    """Mask2Former on a pyramid of CARL's features.

    Args:
        carl: the network below.
        n_classes: K.
        pyramid: gives the four scales.
        options: its sizes.

    Raises:
        ModelError: there are more classes than queries.
    """

    def __init__(
        self, carl: CARL, n_classes: int, pyramid: Pyramid, options: Mask2FormerOptions
    ) -> None:
        super().__init__(carl, n_classes)
        if options.queries < n_classes:
            raise ModelError(
                f"Mask2Former has {options.queries} queries for {n_classes} classes: give one for "
                "each class at least."
            )
        self.pyramid = pyramid
        self.decoder = Mask2FormerDecoder(pyramid.channels, n_classes, options)
        self._n_points = options.points

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """(B, K, H, W) logits of an image; see `Head.forward`."""
        last = self._predictions(image, wavelengths_um)[-1]
        masks = to_pixels(last.masks, self.carl.patch_size, image).sigmoid()
        classes = last.classes.float().softmax(-1)[..., :-1]
        scores = torch.einsum("bqk,bqhw->bkhw", classes, masks)
        return scores.clamp(min=_LEAST_SCORE).log()

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """The losses of classes and masks of all layers, after matching; see `Head.loss`.

        Masks are compared at labelled pixels alone. A class without a labelled pixel in an image
        counts as absent from it; images without any label do not count.
        """
        predictions = self._predictions(image, wavelengths_um)
        at, truth = labelled_points(labels, self.carl.patch_size, self._n_points)
        known = [number for number, each in enumerate(truth) if len(each.classes)]
        if not known:
            return sum((each.masks.sum() * 0.0 for each in predictions), image.new_zeros(()))
        points = [at[number] for number in known]
        *earlier, last = [
            {
                "masks_queries_logits": values_at(each.masks[known].float(), points),
                "class_queries_logits": each.classes[known].float(),
            }
            for each in predictions
        ]
        loss: Tensor = self.decoder.criterion.total(last, earlier, [truth[i] for i in known])
        return loss

    def _predictions(self, image: Tensor, wavelengths_um: Tensor) -> list[MaskPrediction]:
        predictions: list[MaskPrediction] = self.decoder(
            self.pyramid(self.carl, image, wavelengths_um)
        )
        return predictions
