from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig

from carl.errors import ModelError
from carl.model.heads import build_head
from carl.model.heads.base import to_pixels
from carl.model.heads.mask2former import MaskPrediction
from carl.model.heads.mask2former_loss import LabelledPointsLoss, labelled_points, values_at

NM = torch.linspace(0.4, 0.8, 5)


@pytest.fixture
def labels() -> torch.Tensor:
    """Two images of 10 × 13 pixels, in which few are labelled, with classes 2 and 3 of 3."""
    values = torch.zeros(2, 10, 13, dtype=torch.int64)
    values[0, 1, 2:9] = 2
    values[0, 7, 3:6] = 3
    values[1, 9, 12] = 3
    return values


def test_values_are_those_of_the_labelled_pixels(labels):
    maps = torch.randn(2, 4, 6, 8)  # of 3 × 4 patches of 4 pixels
    points, truth = labelled_points(labels, 4, 100)
    pixels = to_pixels(maps, 4, labels[:, None])
    for image in range(2):
        expected = pixels[image][:, labels[image] > 0]
        torch.testing.assert_close(values_at(maps, points)[image], expected)
    assert [each.classes.tolist() for each in truth] == [[1, 2], [2]]
    assert truth[0].masks.tolist() == [[1.0] * 7 + [0.0] * 3, [0.0] * 7 + [1.0] * 3]


def test_of_many_labelled_pixels_some_are_drawn(labels):
    points, truth = labelled_points(labels, 4, 6)
    assert [len(each) for each in points] == [6, 1]
    assert truth[0].masks.sum() == 6


def test_the_loss_is_what_the_paper_says(labels):
    """Against every possible matching, and the terms written out in NumPy."""
    torch.manual_seed(0)
    config = Mask2FormerConfig(num_labels=3)
    masks, classes = torch.randn(2, 4, 6, 8), torch.randn(2, 4, 4)
    points, truth = labelled_points(labels, 4, 100)
    predicted = values_at(masks, points)
    last = {"masks_queries_logits": predicted, "class_queries_logits": classes}
    total = LabelledPointsLoss(config).total(last, [], truth)

    n_masks = 3
    mask_loss, dice_loss, targets = 0.0, 0.0, np.full((2, 4), 3)
    for image in range(2):
        probability = 1 / (1 + np.exp(-predicted[image].double().numpy()))
        wanted = truth[image].masks.numpy()
        present = truth[image].classes.numpy()
        entropy = -np.array(
            [[np.mean(np.log(np.where(t == 1, p, 1 - p))) for t in wanted] for p in probability]
        )
        dice = np.array(
            [
                [1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1) for t in wanted]
                for p in probability
            ]
        )
        sure = classes[image].double().softmax(-1).numpy()[:, present]
        cost = 5 * entropy + 5 * dice - 2 * sure
        places = np.arange(len(present))
        best = min(
            permutations(range(4), len(present)), key=lambda rows: cost[list(rows), places].sum()
        )
        targets[image, list(best)] = present
        mask_loss += entropy[list(best), places].sum() / n_masks
        dice_loss += dice[list(best), places].sum() / n_masks
    weights = np.array([1, 1, 1, 0.1])[targets]
    logs = classes.double().log_softmax(-1).numpy()
    picked = np.take_along_axis(logs, targets[..., None], -1)[..., 0]
    class_loss = -(weights * picked).sum() / weights.sum()
    assert total.item() == pytest.approx(2 * class_loss + 5 * mask_loss + 5 * dice_loss, rel=1e-4)


@pytest.mark.parametrize("name", ["vit-adapter-mask2former", "swin-mask2former"])
def test_images_without_labels_do_not_count(head, labels, name: str):
    network = head(name, 3).eval()
    image = torch.randn(2, 5, 10, 13)
    alone = network.loss(image[:1], NM, labels[:1])
    labels[1] = 0
    torch.testing.assert_close(network.loss(image, NM, labels), alone)
    nothing = network.loss(image, NM, torch.zeros_like(labels))
    nothing.backward()
    assert nothing.item() == 0


def test_masks_are_free_where_nothing_is_labelled(head, labels, monkeypatch):
    network = head("vit-adapter-mask2former", 3).eval()
    image = torch.randn(2, 5, 10, 13)
    before = network._predictions(image, NM)
    changed = []
    for each in before:
        masks = torch.nn.functional.interpolate(each.masks, (12, 16))  # one value for a pixel
        masks[..., 4:6, :] += 100  # no label within reach of the interpolation
        changed.append(MaskPrediction(each.classes, masks))
    unchanged = [
        MaskPrediction(each.classes, torch.nn.functional.interpolate(each.masks, (12, 16)))
        for each in before
    ]
    monkeypatch.setattr(network, "_predictions", lambda *_: unchanged)
    expected = network.loss(image, NM, labels)
    monkeypatch.setattr(network, "_predictions", lambda *_: changed)
    torch.testing.assert_close(network.loss(image, NM, labels), expected)
    monkeypatch.undo()


def test_logits_are_those_of_probabilities(head):
    network = head("swin-mask2former", 3).eval()
    logits = network(torch.randn(1, 5, 10, 13), NM)
    assert logits.isfinite().all()
    assert logits.max() <= np.log(8)  # as many queries can say one class


def test_each_class_needs_a_query(network):
    with pytest.raises(ModelError, match="100 queries for 101 classes"):
        build_head("swin-mask2former", network(), 101)
