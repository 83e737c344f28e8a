from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig

from carl.errors import ModelError
from carl.model.heads import build_head
from carl.model.heads.base import to_pixels
from carl.model.heads.mask2former import (
    LabelledPointsLoss,
    MaskPrediction,
    labelled_points,
    values_at,
)

WAVELENGTHS_UM = torch.linspace(0.4, 0.8, 5)


@pytest.fixture
def labels() -> torch.Tensor:
    """Two sparsely labelled images of 10 × 13 pixels, with classes 2 and 3 of 3."""
    values = torch.zeros(2, 10, 13, dtype=torch.int64)
    values[0, 1, 2:9] = 2
    values[0, 7, 3:6] = 3
    values[1, 9, 12] = 3
    return values


def test_values_at_points_equal_interpolated_pixels(labels):
    maps = torch.randn(2, 4, 6, 8)  # of 3 × 4 patches of 4 pixels
    points, targets = labelled_points(labels, 4, 100)
    pixels = to_pixels(maps, 4, labels[:, None])
    for image in range(2):
        expected = pixels[image][:, labels[image] > 0]
        torch.testing.assert_close(values_at(maps, points)[image], expected)
    assert [each.classes.tolist() for each in targets] == [[1, 2], [2]]
    assert targets[0].masks.tolist() == [[1.0] * 7 + [0.0] * 3, [0.0] * 7 + [1.0] * 3]


def test_number_of_points_is_limited(labels):
    points, targets = labelled_points(labels, 4, 6)
    assert [len(each) for each in points] == [6, 1]
    assert targets[0].masks.sum() == 6


def test_loss_equals_explicit_computation(labels):
    """The reference tries every matching and computes the terms of the paper in NumPy."""
    torch.manual_seed(0)
    config = Mask2FormerConfig(num_labels=3)
    masks, classes = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 4)
    points, targets = labelled_points(labels, 4, 100)
    predicted = values_at(masks, points)
    last = {"masks_queries_logits": predicted, "class_queries_logits": classes}
    total = LabelledPointsLoss(config).total(last, [], targets)

    n_masks = 3
    mask_loss, dice_loss, query_classes = 0.0, 0.0, np.full((2, 4), 3)
    for image in range(2):
        probability = 1 / (1 + np.exp(-predicted[image].double().numpy()))
        masks_true = targets[image].masks.numpy()
        present = targets[image].classes.numpy()
        entropy = -np.array(
            [[np.mean(np.log(np.where(t == 1, p, 1 - p))) for t in masks_true] for p in probability]
        )
        dice = np.array(
            [
                [1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1) for t in masks_true]
                for p in probability
            ]
        )
        class_probability = classes[image].double().softmax(-1).numpy()[:, present]
        cost = 5 * entropy + 5 * dice - 2 * class_probability
        columns = np.arange(len(present))
        best = min(
            permutations(range(4), len(present)), key=lambda rows: cost[list(rows), columns].sum()
        )
        query_classes[image, list(best)] = present
        mask_loss += entropy[list(best), columns].sum() / n_masks
        dice_loss += dice[list(best), columns].sum() / n_masks
    weights = np.array([1, 1, 1, 0.1])[query_classes]
    logs = classes.double().log_softmax(-1).numpy()
    log_probability = np.take_along_axis(logs, query_classes[..., None], -1)[..., 0]
    class_loss = -(weights * log_probability).sum() / weights.sum()
    assert total.item() == pytest.approx(2 * class_loss + 5 * mask_loss + 5 * dice_loss, rel=1e-4)


@pytest.mark.parametrize("name", ["vit-adapter-mask2former", "swin-mask2former"])
def test_loss_ignores_images_without_labels(head, labels, name: str):
    network = head(name, 3).eval()
    image = torch.randn(2, 5, 10, 13)
    alone = network.loss(image[:1], WAVELENGTHS_UM, labels[:1])
    labels[1] = 0
    torch.testing.assert_close(network.loss(image, WAVELENGTHS_UM, labels), alone)
    unlabelled = network.loss(image, WAVELENGTHS_UM, torch.zeros_like(labels))
    unlabelled.backward()
    assert unlabelled.item() == 0


def test_loss_ignores_masks_at_unlabelled_pixels(head, labels, monkeypatch):
    network = head("vit-adapter-mask2former", 3).eval()
    image = torch.randn(2, 5, 10, 13)
    before = network._predictions(image, WAVELENGTHS_UM)
    changed = []
    for each in before:
        masks = torch.nn.functional.interpolate(each.masks, (12, 16))  # one value per pixel
        masks[..., 4:6, :] += 100  # rows without labels
        changed.append(MaskPrediction(each.classes, masks))
    unchanged = [
        MaskPrediction(each.classes, torch.nn.functional.interpolate(each.masks, (12, 16)))
        for each in before
    ]
    monkeypatch.setattr(network, "_predictions", lambda *_: unchanged)
    expected = network.loss(image, WAVELENGTHS_UM, labels)
    monkeypatch.setattr(network, "_predictions", lambda *_: changed)
    torch.testing.assert_close(network.loss(image, WAVELENGTHS_UM, labels), expected)
    monkeypatch.undo()


def test_logits_are_finite_and_bounded(head):
    network = head("swin-mask2former", 3).eval()
    logits = network(torch.randn(1, 5, 10, 13), WAVELENGTHS_UM)
    assert logits.isfinite().all()
    assert logits.max() <= np.log(8)  # log of the number of queries


def test_more_classes_than_queries_raise(network):
    with pytest.raises(ModelError, match="100 queries for 101 classes"):
        build_head("swin-mask2former", network(), 101)
