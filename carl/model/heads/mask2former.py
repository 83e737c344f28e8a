"""Mask2Former: segmentation by queries that each predict a class and a mask.

Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image Segmentation"
(https://arxiv.org/abs/2112.01527), with the pixel decoder and transformer decoder of transformers.

The loss of transformers compares masks at random points of the whole image, where unlabelled pixels
would count as background. Here the masks are compared at labelled pixels only; matching costs and
losses are those of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerPreTrainedModel
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerTransformerModule,
    dice_loss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
    sigmoid_cross_entropy_loss,
)

from carl.errors import ModelError
from carl.model.carl import CARL
from carl.model.heads.base import FeaturePyramid, SegmentationHead, to_pixels
from carl.model.heads.factory import Mask2FormerOptions

Matches = list[tuple[Tensor, Tensor]]
"""Per image, indices of the matched queries and of the target classes they are matched to."""
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

    `channels` are those of the four input maps.
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


class PointTargets(NamedTuple):
    """Ground truth of one image at its labelled points.

    Attributes:
        classes: (T,) indices of the classes present, from 0.
        masks: (T, N) ones where a labelled point belongs to the class, zeros elsewhere.
    """

    classes: Tensor
    masks: Tensor


class PointMatcher(Mask2FormerHungarianMatcher):  # type: ignore[misc]  # is not typed
    """Hungarian matching of queries to classes with masks given at points."""

    @torch.no_grad()
    def forward(
        self,
        masks_queries_logits: Sequence[Tensor],
        class_queries_logits: Tensor,
        mask_labels: Sequence[Tensor],
        class_labels: Sequence[Tensor],
    ) -> Matches:
        """Match the queries of each image to its classes.

        Per image, (Q, N) mask logits at the points, (T, N) masks and (T,) indices of its classes;
        class logits are (B, Q, K + 1).
        """
        matches = []
        for masks, classes, target_masks, target_classes in zip(
            masks_queries_logits, class_queries_logits, mask_labels, class_labels, strict=True
        ):
            # cost = λ_ce·BCE(mask) + λ_dice·Dice(mask) - λ_cls·p(class); weights of the paper:
            # λ_ce = λ_dice = 5 and λ_cls = 2.
            cost = (
                self.cost_mask * pair_wise_sigmoid_cross_entropy_loss(masks, target_masks)
                + self.cost_dice * pair_wise_dice_loss(masks, target_masks)
                - self.cost_class * classes.softmax(-1)[:, target_classes]
            )
            assignment = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
            queries, targets = (torch.as_tensor(each, device=cost.device) for each in assignment)
            matches.append((queries, targets))
        return matches


class LabelledPointsLoss(Mask2FormerLoss):  # type: ignore[misc]  # is not typed
    """Mask2Former loss of transformers, with masks given at labelled points."""

    def __init__(self, config: Mask2FormerConfig) -> None:
        weights = {
            "loss_cross_entropy": config.class_weight,
            "loss_mask": config.mask_weight,
            "loss_dice": config.dice_weight,
        }
        super().__init__(config, weights)
        self.matcher = PointMatcher(config.class_weight, config.mask_weight, config.dice_weight)

    def loss_masks(
        self,
        masks_queries_logits: Sequence[Tensor],
        mask_labels: Sequence[Tensor],
        indices: Matches,
        num_masks: Any,
    ) -> dict[str, Tensor]:
        """Compute cross-entropy and Dice loss of the matched masks."""
        matched = [
            (masks[queries], target_masks[targets])
            for masks, target_masks, (queries, targets) in zip(
                masks_queries_logits, mask_labels, indices, strict=True
            )
        ]
        losses = {"loss_mask": sigmoid_cross_entropy_loss, "loss_dice": dice_loss}
        return {
            name: torch.stack([loss(*each, num_masks) for each in matched]).sum()
            for name, loss in losses.items()
        }

    def total(
        self,
        last: Mapping[str, Any],
        earlier: Sequence[Mapping[str, Any]],
        targets: Sequence[PointTargets],
    ) -> Tensor:
        """Compute Σ over layers of λ_cls·L_cls + λ_ce·L_ce + λ_dice·L_dice.

        Args:
            last: keyword arguments of transformers' loss for the predictions of the last layer,
                with masks as returned by `values_at`.
            earlier: the same for the layers before.
            targets: ground truth of each image.
        """
        terms = self(
            **last,
            mask_labels=[each.masks for each in targets],
            class_labels=[each.classes for each in targets],
            auxiliary_predictions=earlier,
        )
        weighted = [
            weight * term
            for kind, weight in self.weight_dict.items()
            for name, term in terms.items()
            if name.startswith(kind)
        ]
        return torch.stack(weighted).sum()


def labelled_points(
    labels: Tensor, patch_size: int, n_points: int
) -> tuple[list[Tensor], list[PointTargets]]:
    """Return the labelled pixels of each image as points, with their ground truth.

    Args:
        labels: (B, H, W) classes from 1, 0 = unlabelled.
        patch_size: P in pixels; the maps of the network cover whole patches.
        n_points: largest number of points per image; a random subset if more are labelled.

    Returns:
        per image, (N, 2) points (x, y) in coordinates where the maps span -1..1, and the ground
        truth at these points.
    """
    sides = torch.tensor(
        [-(-length // patch_size) * patch_size for length in labels.shape[1:]], device=labels.device
    )
    points, targets = [], []
    for image in labels:
        pixels = image.nonzero()
        if len(pixels) > n_points:
            pixels = pixels[torch.randperm(len(pixels), device=pixels.device)[:n_points]]
        values = image[pixels[:, 0], pixels[:, 1]].long()
        classes = values.unique()
        points.append((2 * (pixels + 0.5) / sides - 1).flip(1))
        targets.append(PointTargets(classes - 1, (classes[:, None] == values).float()))
    return points, targets


def values_at(maps: Tensor, points: Sequence[Tensor]) -> list[Tensor]:
    """Interpolate maps (B, Q, u, v) bilinearly at the points (N, 2) of each image, to (Q, N)."""
    return [
        F.grid_sample(
            image_maps[None],
            image_points[None, None].to(image_maps.dtype),
            padding_mode="border",
            align_corners=False,
        )[0, :, 0]
        for image_maps, image_points in zip(maps, points, strict=True)
    ]
