"""Mask2Former: segmentation by queries that each predict a class and a mask.

Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image Segmentation"
(https://arxiv.org/abs/2112.01527), with the pixel decoder and transformer decoder of transformers.
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
from carl.model.heads.base import FeaturePyramid, SegmentationHead, to_pixels
from carl.model.heads.factory import Mask2FormerOptions
from carl.model.heads.mask2former_loss import LabelledPointsLoss, labelled_points, values_at

_MIN_SCORE = 1e-6
"""Lower limit of the class scores, so that their logarithm is finite."""


class MaskPrediction(NamedTuple):
    """Prediction of all queries after one layer of the transformer decoder.

    Attributes:
        classes: (B, Q, K + 1) class logits; the last class is "no object".
        masks: (B, Q, u, v) mask logits.
    """

    classes: Tensor
    masks: Tensor


class Mask2FormerDecoder(Mask2FormerPreTrainedModel):  # type: ignore[misc]  # is not typed
    """Pixel decoder, transformer decoder and predictors of Mask2Former, without a backbone.

    Args:
        channels: channels of the four input maps.
        n_classes: K.
        options: options of Mask2Former.
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
        """Compute the predictions of the initial queries and of the queries after each layer.

        Args:
            maps: four maps (B, channels, ·, ·) from fine to coarse, each at half the resolution of
                the previous one.
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
    """Mask2Former on a feature pyramid of CARL.

    Args:
        carl: the network.
        n_classes: K.
        pyramid: module that computes the features at four scales.
        options: options of Mask2Former.

    Raises:
        ModelError: there are more classes than queries.
    """

    def __init__(
        self, carl: CARL, n_classes: int, pyramid: FeaturePyramid, options: Mask2FormerOptions
    ) -> None:
        super().__init__(carl, n_classes)
        if options.queries < n_classes:
            raise ModelError(
                f"Mask2Former has {options.queries} queries for {n_classes} classes: set 'queries' "
                "to the number of classes or more."
            )
        self.pyramid = pyramid
        self.decoder = Mask2FormerDecoder(pyramid.channels, n_classes, options)
        self._n_points = options.points

    def forward(self, image: Tensor, wavelengths_um: Tensor) -> Tensor:
        """Compute the logits (B, K, H, W) of an image; see `Head.forward`."""
        # Semantic inference of MaskFormer (Cheng et al. 2021, https://arxiv.org/abs/2107.06278):
        # the score of class k at pixel x is Σ_q p_q(k)·sigmoid(m_q(x)).
        last = self._predictions(image, wavelengths_um)[-1]
        masks = to_pixels(last.masks, self.carl.patch_size, image).sigmoid()
        classes = last.classes.float().softmax(-1)[..., :-1]
        scores = torch.einsum("bqk,bqhw->bkhw", classes, masks)
        return scores.clamp(min=_MIN_SCORE).log()

    def loss(self, image: Tensor, wavelengths_um: Tensor, labels: Tensor) -> Tensor:
        """Compute the class and mask losses of all layers after matching; see `Head.loss`.

        Masks are compared at labelled pixels only. A class without a labelled pixel counts as
        absent from the image; images without labels do not contribute.
        """
        predictions = self._predictions(image, wavelengths_um)
        points, targets = labelled_points(labels, self.carl.patch_size, self._n_points)
        labelled = [index for index, each in enumerate(targets) if len(each.classes)]
        if not labelled:
            return sum((each.masks.sum() * 0.0 for each in predictions), image.new_zeros(()))
        labelled_image_points = [points[index] for index in labelled]
        *earlier, last = [
            {
                "masks_queries_logits": values_at(
                    each.masks[labelled].float(), labelled_image_points
                ),
                "class_queries_logits": each.classes[labelled].float(),
            }
            for each in predictions
        ]
        loss: Tensor = self.decoder.criterion.total(
            last, earlier, [targets[index] for index in labelled]
        )
        return loss

    def _predictions(self, image: Tensor, wavelengths_um: Tensor) -> list[MaskPrediction]:
        predictions: list[MaskPrediction] = self.decoder(
            self.pyramid(self.carl, image, wavelengths_um)
        )
        return predictions
