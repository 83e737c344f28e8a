"""``carl train``, and ``carl predict`` with what it makes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from carl.io import write_labels
from carl.learning.head_training import TrainReport
from carl.learning.head_training.train import HeadTraining
from carl.model import CARL, build_model, save_model


@pytest.fixture
def recipe_path(tmp_path: Path, tiny_model: CARL, cube_path: Path, truth) -> Path:
    # Without LayerScale, which keeps random features of all patches alike.
    spectral = replace(tiny_model.config.spec_encoder_kwargs, layer_scale=None)
    config = replace(tiny_model.config, spec_encoder_kwargs=spectral)
    save_model(build_model(config), tmp_path / "network.safetensors")
    write_labels(tmp_path / "truth.png", truth)
    values = {
        "output": "two.carl", "model": "network.safetensors", "network_rate": 0.005, "steps": 40,
        "pairs": [{"cube": cube_path.name, "labels": "truth.png"}], "classes": ["left", "right"],
        "crop": 16, "batch_size": 4, "learning_rate": 0.005,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_train_and_predict(call_json, recipe_path: Path, cube_path: Path, tmp_path: Path):
    facts = call_json("train", recipe_path, "--device", "cpu")
    assert facts["output"] == str(tmp_path / "two.carl")
    assert (facts["head"], facts["classes"], facts["steps"]) == ("linear", ["left", "right"], 40)
    assert facts["scores"]["miou"] > 0.9
    call_json("predict", cube_path, "--model", facts["output"], "-o", tmp_path / "maps")
    maps = tmp_path / "maps" / "two_labels.tif"
    assert call_json("evaluate", maps, tmp_path / "truth.png")["miou"] > 0.9


def test_a_head_for_images_gives_probabilities(call, recipe_path: Path, cube_path, tmp_path: Path):
    recipe_path.write_text(
        recipe_path.read_text(encoding="utf-8") + "head: multilabel\n", encoding="utf-8"
    )
    status, out, err = call("train", recipe_path, "--device", "cpu")
    assert (status, err) == (0, "")
    assert "held-out f1" in out
    model, maps = tmp_path / "two.carl", tmp_path / "maps"
    assert call("predict", cube_path, "--model", model, "-o", maps)[0] == 0
    assert [path.name for path in maps.iterdir()] == ["two_probabilities.json"]
    found = json.loads((maps / "two_probabilities.json").read_text())
    assert min(found["left"], found["right"]) > 0.5  # both are there


def test_an_interrupted_training_is_resumed(call, call_json, recipe_path: Path, monkeypatch):
    recipe_path.write_text(
        recipe_path.read_text(encoding="utf-8") + "checkpoint_every: 10\n", encoding="utf-8"
    )
    checkpoint, output = recipe_path.with_name("two.ckpt"), recipe_path.with_name("two.carl")
    step = HeadTraining.step

    def interrupted(self: HeadTraining) -> TrainReport:
        if self.n_done == 25:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(HeadTraining, "step", interrupted)
    status, out, err = call("train", recipe_path, "--device", "cpu")
    assert (status, out) == (130, "")
    assert err == "carl: Interrupted: resume from the last checkpoint with --resume.\n"
    assert checkpoint.is_file()
    assert not output.exists()

    monkeypatch.setattr(HeadTraining, "step", step)
    status, _, err = call("train", recipe_path, "--device", "cpu")
    assert (status, err.count("\n")) == (2, 1)
    assert "continue it with --resume" in err
    assert call_json("train", recipe_path, "--device", "cpu", "--resume")["steps"] == 40
    assert output.is_file()
    assert not checkpoint.exists()
    status, _, err = call("train", recipe_path, "--device", "cpu", "--resume")
    assert status == 2
    assert "There is no training to resume in" in err


def test_train_fails_in_one_line_and_writes_nothing(call, recipe_path: Path, tmp_path: Path):
    def fails(old: str, new: str, words: str) -> None:
        text = recipe_path.read_text(encoding="utf-8")
        assert old in text
        recipe_path.write_text(text.replace(old, new), encoding="utf-8")
        status, out, err = call("train", recipe_path, "--device", "cpu")
        recipe_path.write_text(text, encoding="utf-8")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert words in err
        assert not (tmp_path / "two.carl").exists()

    fails("steps: 40", "stepz: 40", "recipe.yaml: There is no key 'stepz': did you mean 'steps'?")
    fails("two.hdr", "three.hdr", "three.hdr")
    fails("truth.png", "truth.json", "truth.json")
    fails("output: two.carl", "output: truth.png", "give it a name that ends in .carl")
    fails("network.safetensors", "nothing", "'nothing' is neither a file nor a known model")
