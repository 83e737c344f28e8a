from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from carl.errors import Cancelled, CarlError, LabelError, ModelError
from carl.io import write_labels
from carl.learning.head_training import train
from carl.learning.head_training.samples import CubeSamples
from carl.learning.head_training.train_config import PairConfig
from carl.model import load_model

UPERNET = {
    "name": "vit-adapter-upernet",
    "adapter": {"num_heads": 2, "channels": 8, "n_colours": 4},
    "upernet": {"hidden_size": 16},
}
MASK2FORMER = {
    "name": "swin-mask2former",
    "swin": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 4], "window": 4},
    "mask2former": {
        "hidden_size": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 3, "queries": 4,
    },
}  # fmt: skip


def test_head_is_trained_and_validated_on_held_out_labels(recipe):
    reports = []
    result = train(recipe(), device="cpu", on_step=reports.append)
    assert [each.step for each in result.history] == list(range(1, 41))
    assert reports == list(result.history)
    validated = [each.scores for each in result.history if each.scores]
    assert len(validated) == 4
    assert result.scores == max(validated, key=lambda scores: scores["miou"])
    assert result.scores["miou"] > 0.9
    assert [each.name for each in result.trained.classes] == ["lumen", "urothelium"]
    assert repr(result).startswith(
        "TrainResult(head='linear', classes=['lumen', 'urothelium'], steps=40, loss=0."
    )


def test_same_seed_gives_the_same_head(recipe):
    config = recipe(steps=3)
    first, second = (train(config, device="cpu").trained.head.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = train(recipe(steps=3, seed=1), device="cpu").trained.head.state_dict()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_global_random_state_is_unchanged(recipe):
    before = torch.random.get_rng_state()
    train(recipe(steps=1), device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_frozen_network_is_unchanged(recipe, folder: Path):
    given = load_model(folder / "network.safetensors", "cpu")
    frozen = train(recipe(frozen=True, steps=3), device="cpu").trained.head
    tuned = train(recipe(steps=3), device="cpu").trained.head
    assert frozen.carl.fingerprint == given.fingerprint != tuned.carl.fingerprint
    assert (frozen.carl.trained, tuned.carl.trained) == (False, True)


@pytest.mark.parametrize("head", [UPERNET, MASK2FORMER], ids=lambda head: head["name"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_large_heads_are_trained_in_both_precisions(
    recipe, head: dict[str, object], precision: str
):
    result = train(recipe(head=head, precision=precision, steps=12, held_out=0), device="cpu")
    losses = [each.loss for each in result.history]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert result.scores == {}


@pytest.mark.parametrize(("head", "score"), [("classification", "accuracy"), ("multilabel", "f1")])
def test_classification_heads_are_trained_on_crops(recipe, head: str, score: str):
    result = train(recipe(head=head, crop=32, steps=50), device="cpu")
    assert result.scores[score] > 0.9


def test_image_labels_are_derived_from_pixel_labels(recipe, folder: Path):
    model, random = load_model(folder / "network.safetensors", "cpu"), np.random.default_rng(0)
    batches = {}
    for task in ("segmentation", "classification", "multilabel"):
        samples = CubeSamples(recipe(), model, task)
        batches[task] = samples.draw(np.random.default_rng(0))
    pixels = batches["segmentation"].labels
    counts = torch.stack([(pixels == k).sum(dim=(1, 2)) for k in (1, 2)], dim=1)
    assert torch.equal(batches["multilabel"].labels, (counts > 0).long())
    assert torch.equal(batches["classification"].labels, counts.argmax(dim=1) + 1)
    assert pixels.shape == batches["segmentation"].image[:, 0].shape == (4, 16, 16)
    assert batches["segmentation"].wavelengths_um.shape == batches["segmentation"].image.shape[1:2]
    assert samples.draw(random).image.shape[1] <= 6


def test_validation_on_other_cubes(recipe, folder: Path, tmp_path: Path):
    pair = {"cube": str(folder / "tissue.hdr"), "labels": str(folder / "tissue_labels.png")}
    result = train(recipe(validation=[pair]), device="cpu")
    assert result.scores["miou"] > 0.9
    odd = np.zeros((80, 120), np.uint8)
    odd[3, 4] = 7
    write_labels(tmp_path / "odd.png", odd)
    with pytest.raises(LabelError, match="have the class 7, which no pair has"):
        train(recipe(validation=[{**pair, "labels": str(tmp_path / "odd.png")}]), device="cpu")


def test_single_class_is_refused(recipe, tmp_path: Path):
    labels = np.zeros((80, 120), np.uint8)
    labels[:10] = 2
    write_labels(tmp_path / "one.png", labels)
    config = recipe()
    single = PairConfig(config.pairs[0].cube, tmp_path / "one.png")
    with pytest.raises(LabelError, match="At least two classes"):
        train(recipe(pairs=[single]), device="cpu")


def test_training_can_be_cancelled(recipe):
    def stop(fraction: float, message: str) -> None:
        if message == "Training: step 2 of 40":
            raise Cancelled

    with pytest.raises(Cancelled):
        train(recipe(), device="cpu", progress=stop)


def test_infinite_loss_is_reported(recipe):
    with pytest.raises(CarlError, match=r"no longer finite at step [23]"):
        train(recipe(learning_rate=1e30, network_rate=1e30), device="cpu")


def test_missing_transformers_is_reported(monkeypatch, recipe):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "carl.model.heads.factory.find_spec",
        lambda name: None if name == "transformers" else real(name),
    )
    with pytest.raises(ModelError, match=r'pip install "napari-carl\[heads\]"'):
        train(recipe(head=MASK2FORMER), device="cpu")
