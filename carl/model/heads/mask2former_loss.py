"""Loss of Mask2Former for images of which only some pixels are labelled.

transformers compares masks at random points of the whole image, where unlabelled pixels would count
as background. Here the masks are compared at labelled pixels only; matching costs and losses are
those of transformers.
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

Matches = list[tuple[Tensor, Tensor]]
"""Per image, indices of the matched queries and of the target classes they are matched to."""


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

        Args:
            masks_queries_logits: per image (Q, N) mask logits at the points.
            class_queries_logits: (B, Q, K + 1) class logits.
            mask_labels: per image (T, N) masks of its classes.
            class_labels: per image (T,) class indices.
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
    """Mask2Former loss of transformers, with masks given at labelled points.

    Args:
        config: configuration of Mask2Former.
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
