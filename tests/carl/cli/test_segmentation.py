"""Commands for segmentation: fit, train, predict, evaluate."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from carl.io import LabelClass, read_cube, read_labels, write_labels
from carl.learning import finetune
from carl.learning.head_training import TrainReport
from carl.learning.head_training.train import HeadTraining
from carl.model import CARL, build_model, save_model

NM = np.linspace(450, 800, 8)  # of the cube in conftest.py
SHAPE = (40, 48)


def test_fit_predict_evaluate(call_json, cube_path: Path, labels_path: Path, tmp_path: Path, truth):
    pair = ("--pair", cube_path, labels_path)
    result = call_json("fit", *pair, "-o", tmp_path / "two.carl", "--classes", "left,right")
    assert result["classes"] == {"left": 48, "right": 42}
    report = result["report"]
    assert report["held_out_accuracy"] is None  # one stroke each
    assert (report["judged_classes"], report["other_classes"]) == ([], ["left", "right"])
    assert report["component_weights"] == report["experts"]
    assert 0 <= report["network_weight"] == report["carl_share"] <= 1
    out = tmp_path / "out"
    model = ("--model", tmp_path / "two.carl")
    fractions = call_json("predict", cube_path, *model, "-o", out, "--probabilities")
    assert fractions[str(out / "two_labels.tif")]["left"] == pytest.approx(0.5, abs=0.02)
    predicted = read_labels(out / "two_labels.tif", SHAPE)
    assert [c.name for c in predicted.classes] == ["left", "right"]
    probabilities = tifffile.imread(out / "two_probabilities.tif")
    assert probabilities.shape == (2, *SHAPE)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=0) + 1, predicted.labels)
    write_labels(tmp_path / "truth.tif", truth)
    scores = call_json("evaluate", out / "two_labels.tif", tmp_path / "truth.tif")
    assert scores["miou"] > 0.97
    assert scores["pixels"] == truth.size
    assert set(scores["iou"]) == {"1", "2"}


def test_cubes_of_one_name_are_written_to_different_files(
    call_json, cube_path: Path, segmenter_path: Path, tmp_path: Path
):
    np.save(tmp_path / "two.npy", read_cube(cube_path).to_numpy()[::-1])
    (tmp_path / "two_wavelengths.csv").write_text("\n".join(map(str, NM)))
    cubes = (cube_path, tmp_path / "two.npy")
    out = tmp_path / "out"
    for _ in range(2):  # existing results are replaced
        fractions = call_json("predict", *cubes, "--model", segmenter_path, "-o", out)
    assert list(fractions) == [str(out / "two_hdr_labels.tif"), str(out / "two_npy_labels.tif")]
    one, other = (read_labels(path).labels for path in fractions)
    np.testing.assert_array_equal(one, other[::-1])


def test_the_accuracy_is_that_of_held_out_strokes(
    call_json, cube_path: Path, labels_path: Path, tmp_path: Path
):
    labels = read_labels(labels_path).labels
    labels[30:33] = labels[10:13]
    write_labels(tmp_path / "three.tif", labels)
    pair = ("--pair", cube_path, tmp_path / "three.tif", "--model", "none")
    report = call_json("fit", *pair, "-o", tmp_path / "two.carl")["report"]
    assert report["held_out_accuracy"] == report["left_out_accuracy"] > 0.9
    assert (report["judged_classes"], report["other_classes"]) == (["class 1"], ["class 2"])


def test_fit_to_several_cubes(call_json, cube_path: Path, labels_path: Path, tmp_path: Path):
    labels = read_labels(labels_path).labels
    write_labels(tmp_path / "a.tif", labels * (labels == 1), [LabelClass(1, "left", (9, 9, 9))])
    write_labels(tmp_path / "b.tif", labels * (labels == 2))
    result = call_json(
        "fit", "--pair", cube_path, tmp_path / "a.tif", "--pair", cube_path, tmp_path / "b.tif",
        "--model", "none", "-o", tmp_path / "two.carl",
    )  # fmt: skip
    assert result["classes"] == {"left": 48, "class 2": 42}


def test_fine_tuning_is_reported(
    call_json, cube_path: Path, labels_path: Path, tmp_path: Path, tiny_model: CARL, monkeypatch
):
    monkeypatch.setattr("carl.learning.finetune", partial(finetune, steps=2))
    save_model(tiny_model, tmp_path / "network.safetensors")
    result = call_json(
        "fit", "--pair", cube_path, labels_path, "--model", tmp_path / "network.safetensors",
        "--tune", "last_blocks", "-o", tmp_path / "two.carl",
    )  # fmt: skip
    assert isinstance(result["fine_tuning"]["kept"], bool)


def test_evaluate_prints_class_names(call, tmp_path: Path, truth: np.ndarray):
    write_labels(tmp_path / "truth.png", truth, [LabelClass(1, "lumen", (1, 2, 3))])
    write_labels(tmp_path / "predicted.png", np.ones_like(truth))
    status, out, _ = call("evaluate", tmp_path / "predicted.png", tmp_path / "truth.png")
    assert status == 0
    assert "IoU lumen    0.5000" in out
    assert "mIoU         0.2500" in out


@pytest.fixture
def config_path(tmp_path: Path, tiny_model: CARL, cube_path: Path, truth) -> Path:
    # Without LayerScale, which makes the features of an untrained network nearly constant.
    spectral = replace(tiny_model.config.spec_encoder_kwargs, layer_scale=None)
    config = replace(tiny_model.config, spec_encoder_kwargs=spectral)
    save_model(build_model(config), tmp_path / "network.safetensors")
    write_labels(tmp_path / "truth.png", truth)
    values = {
        "output": "two.carl", "model": "network.safetensors", "network_rate": 0.005, "steps": 40,
        "pairs": [{"cube": cube_path.name, "labels": "truth.png"}], "classes": ["left", "right"],
        "crop": 16, "batch_size": 4, "learning_rate": 0.005,
    }  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_train_and_predict(call_json, config_path: Path, cube_path: Path, tmp_path: Path):
    result = call_json("train", config_path, "--device", "cpu")
    assert result["output"] == str(tmp_path / "two.carl")
    assert (result["head"], result["classes"], result["steps"]) == ("linear", ["left", "right"], 40)
    assert result["scores"]["miou"] > 0.9
    call_json("predict", cube_path, "--model", result["output"], "-o", tmp_path / "maps")
    maps = tmp_path / "maps" / "two_labels.tif"
    assert call_json("evaluate", maps, tmp_path / "truth.png")["miou"] > 0.9


def test_predict_writes_the_probabilities_of_image_classes(
    call, config_path: Path, cube_path, tmp_path: Path
):
    config_path.write_text(config_path.read_text("utf-8") + "head: multilabel\n", "utf-8")
    status, out, err = call("train", config_path, "--device", "cpu")
    assert (status, err) == (0, "")
    assert "held-out f1" in out
    model, maps = tmp_path / "two.carl", tmp_path / "maps"
    assert call("predict", cube_path, "--model", model, "-o", maps)[0] == 0
    assert [path.name for path in maps.iterdir()] == ["two_probabilities.json"]
    found = json.loads((maps / "two_probabilities.json").read_text())
    assert min(found["left"], found["right"]) > 0.5  # the image shows both classes


def test_an_interrupted_training_is_resumed(call, call_json, config_path: Path, monkeypatch):
    config_path.write_text(config_path.read_text("utf-8") + "checkpoint_every: 10\n", "utf-8")
    checkpoint, output = config_path.with_name("two.ckpt"), config_path.with_name("two.carl")
    step = HeadTraining.step

    def interrupted(self: HeadTraining) -> TrainReport:
        if len(self.history) == 25:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(HeadTraining, "step", interrupted)
    status, out, err = call("train", config_path, "--device", "cpu")
    assert (status, out) == (130, "")
    assert err == "carl: Interrupted: resume from the last checkpoint with --resume.\n"
    assert checkpoint.is_file()
    assert not output.exists()

    monkeypatch.setattr(HeadTraining, "step", step)
    status, _, err = call("train", config_path, "--device", "cpu")
    assert (status, err.count("\n")) == (2, 1)
    assert "continue it with --resume" in err
    assert call_json("train", config_path, "--device", "cpu", "--resume")["steps"] == 40
    assert output.is_file()
    assert not checkpoint.exists()
    status, _, err = call("train", config_path, "--device", "cpu", "--resume")
    assert status == 2
    assert "There is no training to resume in" in err


def test_train_with_a_wrong_configuration(call, config_path: Path, tmp_path: Path):
    def assert_fails(old: str, new: str, message: str) -> None:
        text = config_path.read_text("utf-8")
        assert old in text
        config_path.write_text(text.replace(old, new), "utf-8")
        status, out, err = call("train", config_path, "--device", "cpu")
        config_path.write_text(text, "utf-8")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err
        assert not (tmp_path / "two.carl").exists()

    assert_fails(
        "steps: 40", "stepz: 40", "config.yaml: There is no key 'stepz': did you mean 'steps'?"
    )
    assert_fails("two.hdr", "three.hdr", "three.hdr")
    assert_fails("truth.png", "truth.json", "truth.json")
    assert_fails("output: two.carl", "output: truth.png", "give it a name that ends in .carl")
    assert_fails("network.safetensors", "nothing", "'nothing' is neither a file nor a known model")
