"""Every head learns a few crops of real tissue by heart."""

from __future__ import annotations

import pytest
import torch

from carl.metrics import evaluate
from carl.model.heads.base import Head


def train(head: Head, image, wavelengths_um, labels, steps: int, rate: float = 5e-3) -> list[float]:
    """Losses of some steps, each on all of the images."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    losses = []
    head.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = head.loss(image, wavelengths_um, labels)
        loss.backward()
        optimiser.step()
        falling.step()
        losses.append(loss.item())
    head.eval()
    return losses


@pytest.mark.parametrize(
    ("name", "steps", "rate"),
    [
        ("linear", 200, 1e-2),
        ("vit-adapter-upernet", 50, 5e-3),
        ("vit-adapter-mask2former", 80, 2e-3),
        ("swin-mask2former", 100, 2e-3),
    ],
)
def test_segmentation(head, crops, name: str, steps: int, rate: float):
    image, nm, labels = crops("lumen and urothelium", "urothelium and stroma", "blood")
    network = head(name)
    losses = train(network, image, nm, labels, steps, rate)
    with torch.no_grad():
        predicted = network(image, nm).argmax(dim=1) + 1
    scores = evaluate(predicted.numpy(), labels.numpy())
    assert sorted(scores.iou) == [1, 2, 3, 4]
    assert min(scores.iou.values()) > 0.95
    assert losses[-1] < 0.2 * losses[0]


def test_classification(head, crops):
    image, nm, _ = crops("lumen", "urothelium", "stroma", "blood")
    image = torch.cat([image[..., :16, :], image[..., 16:, :]])
    labels = torch.tensor([1, 2, 3, 4, 1, 2, 3, 4])
    network = head("classification")
    train(network, image, nm, labels, 60)
    assert torch.equal(network(image, nm).argmax(dim=1) + 1, labels)


def test_classification_with_several_labels(head, crops):
    image, nm, maps = crops(
        "lumen and urothelium", "urothelium and stroma", "stroma", "blood", "lumen"
    )
    labels = torch.stack([(maps == value).any(dim=(1, 2)) for value in (1, 2, 3, 4)], dim=1)
    assert labels.sum(dim=1).tolist() == [2, 2, 1, 1, 1]
    network = head("multilabel")
    train(network, image, nm, labels, 60)
    assert torch.equal(network(image, nm) > 0, labels)
