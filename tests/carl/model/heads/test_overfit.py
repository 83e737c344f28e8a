"""Every head can overfit a few crops of the sample."""

from __future__ import annotations

import pytest
import torch

from carl.metrics import evaluate
from carl.model.heads.base import Head


def train(head: Head, image, wavelengths_um, labels, steps: int, rate: float = 5e-3) -> list[float]:
    """Train for some steps on all images and return the losses."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    losses = []
    head.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = head.loss(image, wavelengths_um, labels)
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    head.eval()
    return losses


@pytest.mark.parametrize(
    ("name", "steps", "rate"),
    [
        ("linear", 400, 1e-2),
        ("vit-adapter-upernet", 50, 5e-3),
        ("vit-adapter-mask2former", 80, 2e-3),
        ("swin-mask2former", 100, 2e-3),
    ],
)
def test_segmentation_heads_overfit(head, crops, name: str, steps: int, rate: float):
    image, wavelengths_um, labels = crops("lumen and urothelium", "urothelium and stroma", "blood")
    network = head(name)
    losses = train(network, image, wavelengths_um, labels, steps, rate)
    with torch.no_grad():
        predicted = network(image, wavelengths_um).argmax(dim=1) + 1
    scores = evaluate(predicted.numpy(), labels.numpy())
    assert sorted(scores.iou) == [1, 2, 3, 4]
    assert min(scores.iou.values()) > 0.95
    assert losses[-1] < 0.2 * losses[0]


def test_classification_head_overfits(head, crops):
    image, wavelengths_um, _ = crops("lumen", "urothelium", "stroma", "blood")
    image = torch.cat([image[..., :16, :], image[..., 16:, :]])
    labels = torch.tensor([1, 2, 3, 4, 1, 2, 3, 4])
    network = head("classification")
    train(network, image, wavelengths_um, labels, 60)
    assert torch.equal(network(image, wavelengths_um).argmax(dim=1) + 1, labels)


def test_multilabel_head_overfits(head, crops):
    image, wavelengths_um, maps = crops(
        "lumen and urothelium", "urothelium and stroma", "stroma", "blood", "lumen"
    )
    labels = torch.stack([(maps == value).any(dim=(1, 2)) for value in (1, 2, 3, 4)], dim=1)
    assert labels.sum(dim=1).tolist() == [2, 2, 1, 1, 1]
    network = head("multilabel")
    train(network, image, wavelengths_um, labels, 60)
    assert torch.equal(network(image, wavelengths_um) > 0, labels)
