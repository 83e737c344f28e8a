"""Mask2Former's loss where only some of the pixels are labelled.

Transformers compares masks at points anywhere in an image, so that unlabelled pixels would count as
outside of every mask. Here the points are labelled pixels; matching and losses are those of
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerLoss,
    dice_loss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
    sigmoid_cross_entropy_loss,
)

Pairs = list[tuple[Tensor, Tensor]]
"""Numbers of queries and of the classes they are matched to, for each image."""


class Truth(NamedTuple):
    """What is labelled in an image.

    Attributes:
        classes: (T,) class indices that are there.
        masks: (T, N) ones where a labelled pixel is of the class, else zeros.
    """

    classes: Tensor
    masks: Tensor


class PointMatcher(Mask2FormerHungarianMatcher):  # type: ignore[misc]  # is not typed
    """The Hungarian matching of queries and classes, by masks known at points."""

    @torch.no_grad()
    def forward(
        self,
        masks_queries_logits: Sequence[Tensor],
        class_queries_logits: Tensor,
        mask_labels: Sequence[Tensor],
        class_labels: Sequence[Tensor],
    ) -> Pairs:
        """Match; of each image (Q, N) and (Q, K + 1) logits with (T, N) masks of (T,) classes."""
        pairs = []
        for masks, classes, truth, present in zip(
            masks_queries_logits, class_queries_logits, mask_labels, class_labels, strict=True
        ):
            cost = (
                self.cost_mask * pair_wise_sigmoid_cross_entropy_loss(masks, truth)
                + self.cost_dice * pair_wise_dice_loss(masks, truth)
                - self.cost_class * classes.softmax(-1)[:, present]
            )
            matched = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
            queries, targets = (torch.as_tensor(each, device=cost.device) for each in matched)
            pairs.append((queries, targets))
        return pairs


class LabelledPointsLoss(Mask2FormerLoss):  # type: ignore[misc]  # is not typed
    """The loss of transformers with masks known at points.

    Args:
        config: of the Mask2Former.
    """

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
        indices: Pairs,
        num_masks: Any,
    ) -> dict[str, Tensor]:
        """Cross-entropy and Dice loss of the matched masks."""
        matched = [
            (masks[queries], truth[targets])
            for masks, truth, (queries, targets) in zip(
                masks_queries_logits, mask_labels, indices, strict=True
            )
        ]
        losses = {"loss_mask": sigmoid_cross_entropy_loss, "loss_dice": dice_loss}
        return {
            name: torch.stack([loss(*each, num_masks) for each in matched]).sum()
            for name, loss in losses.items()
        }

    def total(
        self, last: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], truth: Sequence[Truth]
    ) -> Tensor:
        """The weighted sum of all terms of all layers.

        Args:
            last: predictions of the last layer under transformers' names; masks as `values_at`
                gives them.
            earlier: those of the layers before.
            truth: of each image.
        """
        terms = self(
            **last,
            mask_labels=[each.masks for each in truth],
            class_labels=[each.classes for each in truth],
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
) -> tuple[list[Tensor], list[Truth]]:
    """Where images are labelled, and what as.

    Args:
        labels: (B, H, W) classes from 1, 0 = unlabelled.
        patch_size: P; maps of the network span whole patches.
        n_points: most points of an image; drawn at random where more are labelled.

    Returns:
        of each image, (N, 2) points as (x, y) where the maps span -1..1, and the truth there.
    """
    sides = torch.tensor(
        [-(-length // patch_size) * patch_size for length in labels.shape[1:]], device=labels.device
    )
    points, truths = [], []
    for image in labels:
        pixels = image.nonzero()
        if len(pixels) > n_points:
            pixels = pixels[torch.randperm(len(pixels), device=pixels.device)[:n_points]]
        values = image[pixels[:, 0], pixels[:, 1]].long()
        classes = values.unique()
        points.append((2 * (pixels + 0.5) / sides - 1).flip(1))
        truths.append(Truth(classes - 1, (classes[:, None] == values).float()))
    return points, truths


def values_at(maps: Tensor, points: Sequence[Tensor]) -> list[Tensor]:
    """Values of maps (B, Q, u, v) at points (N, 2) of each image, as (Q, N), interpolated."""
    return [
        F.grid_sample(
            each[None], at[None, None].to(each.dtype), padding_mode="border", align_corners=False
        )[0, :, 0]
        for each, at in zip(maps, points, strict=True)
    ]
