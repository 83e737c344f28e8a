from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from carl.errors import LabelError
from carl.learning.head_training import train
from carl.learning.head_training.samples import GeoBenchSamples
from carl.model import load_model

BANDS = ["02 - Blue", "03 - Green", "04 - Red", "08 - NIR"]
LABELS = {"classification": 0, "multilabel": 1, "segmentation": 2}


def write_set(folder: Path, task: str, n_samples: int = 6) -> Path:
    """Write images whose classes differ in the near infrared; every second is for validation."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(2 * n_samples):
        bright = np.full((16, 24), number // 2 % 2 == 1)
        if task != "classification":
            bright[:, 12:] ^= number % 3 == 0
        label: object = int(bright[0, 0])
        if task == "multilabel":
            label = [int((~bright).any()), int(bright.any())]
        with h5py.File(folder / f"id_{number}.hdf5", "w") as file:
            for name in BANDS:
                level = 300 + 2700 * bright if "NIR" in name else np.full((16, 24), 900)
                file[name] = (level + random.normal(0, 50, (16, 24))).astype(np.int16)
            if task == "segmentation":
                file["label"] = bright.astype(np.uint8)
            file.attrs["pickle"] = str(pickle.dumps({"label": label}))
    names = [f"id_{number}" for number in range(2 * n_samples)]
    splits = {"train": names[::2], "valid": names[1::2], "test": []}
    (folder / "default_partition.json").write_text(json.dumps(splits))
    return folder


@pytest.mark.parametrize(
    ("task", "head", "score"),
    [
        ("classification", "classification", "accuracy"),
        ("multilabel", "multilabel", "f1"),
        ("segmentation", "linear", "miou"),
    ],
)
def test_heads_are_trained_on_geobench(recipe, tmp_path: Path, task: str, head: str, score: str):
    geobench = write_set(tmp_path / "m-set", task)
    config = recipe(
        pairs=[], geobench=str(geobench), head=head, bands=None, classes=["dark"], steps=80
    )
    result = train(config, device="cpu")
    assert result.scores[score] > 0.9
    assert [each.name for each in result.trained.classes] == ["dark", "class 2"]
    assert result.trained.size == 16


def test_images_and_labels_are_augmented_together(recipe, folder: Path, tmp_path: Path):
    geobench = write_set(tmp_path / "m-set", "segmentation")
    config = recipe(pairs=[], geobench=str(geobench), bands=None, batch_size=32, crop=8)
    samples = GeoBenchSamples(
        config, load_model(folder / "network.safetensors", "cpu"), "segmentation"
    )
    batch = samples.draw(np.random.default_rng(0))
    assert batch.image.shape == (32, 4, 8, 8)
    np.testing.assert_allclose(batch.wavelengths_um, [0.4924, 0.5598, 0.6646, 0.8328], atol=1e-3)
    mixed = [each for each in range(32) if batch.labels[each].unique().numel() == 2]
    assert mixed
    for each in mixed:
        near_infrared = batch.image[each, 3]
        bright = batch.labels[each] == 2
        assert near_infrared[bright].min() > near_infrared[~bright].max()


@pytest.mark.parametrize("task", LABELS)
def test_head_for_another_task_is_refused(recipe, tmp_path: Path, task: str):
    head = "linear" if task != "segmentation" else "multilabel"
    config = recipe(pairs=[], geobench=str(write_set(tmp_path / "m-set", task)), head=head)
    with pytest.raises(LabelError, match=f"is a set for {task}, the head is for"):
        train(config, device="cpu")
