"""``carl pretrain`` and ``carl import``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from carl.model import load_model, read_model

NETWORK = {
    "patch_size": 4,
    "spec_encoder_kwargs": {"embed_dim": 16, "depth": 2, "num_heads": 2, "layer_scale": None},
    "spat_encoder_kwargs": {
        "model_name": "vit_tiny_patch16_224",
        "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 2},
    },
}


@pytest.fixture
def recipe_path(tmp_path: Path, cube_path: Path) -> Path:
    values = {
        "data": [{"kind": "folder", "path": ".", "files": [cube_path.name], "name": "ward"}],
        "output": "run", "name": "tiny", "model": NETWORK, "steps": 2, "crop": 16, "batch_size": 2,
        "workers": 0, "accelerator": "cpu",
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_pretrain_and_resume(call, call_json, recipe_path: Path, cube_path: Path):
    status, out, err = call("pretrain", recipe_path)
    assert (status, err) == (0, "")
    model = recipe_path.parent / "run" / "tiny.safetensors"
    assert f"model        {model}\n" in out
    assert "wavelengths  450–800 nm" in out
    facts = call_json("pretrain", recipe_path, "--resume")
    assert facts == {"model": str(model), "steps": 2, "wavelengths": pytest.approx([450, 800])}
    embedded = call_json("embed", cube_path, "-o", recipe_path.parent / "e.npz", "--model", model)
    assert (embedded["model"], embedded["trained"]) == ("tiny", True)


def test_pretrain_fails_in_one_line(call, recipe_path: Path, cube_path: Path):
    def fails(*arguments: object, words: str) -> None:
        status, out, err = call("pretrain", recipe_path, *arguments)
        assert (status, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1

    fails("--resume", words="There is no run to resume")
    values = np.fromfile(cube_path.with_suffix(".dat"), "<f4")
    values[::50] = np.nan
    values.tofile(cube_path.with_suffix(".dat"))
    fails(words="The set 'ward' holds values that are not numbers (in two)")
    recipe_path.write_text(
        recipe_path.read_text(encoding="utf-8").replace("steps: 2", "stepps: 2"), encoding="utf-8"
    )
    fails(words="recipe.yaml: There is no key 'stepps': did you mean 'steps'?")


@pytest.fixture
def reference(carl_reference: Path) -> Path:
    return carl_reference / "vit_small_case"


@pytest.mark.parametrize("part", ["student", "teacher"])
def test_import_gives_the_networks_of_the_original(call_json, reference, tmp_path: Path, part):
    output = tmp_path / "net.safetensors"
    options = ("--config", reference / "config.json", "-o", output)
    flags = ["--teacher"] * (part == "teacher")
    facts = call_json("import", reference / "checkpoint.ckpt", *options, *flags)
    network = read_model(output)
    assert facts["part"] == part
    assert facts["fingerprint"] == network.fingerprint
    assert (network.name, network.trained) == ("net", True)
    student = load_model(reference / "checkpoint.ckpt", "cpu", reference / "config.json")
    assert (network.fingerprint == student.fingerprint) == (part == "student")


def test_import_refuses_what_does_not_fit(call, reference: Path, tmp_path: Path):
    other = json.loads((reference / "config.json").read_text())
    other["spec_encoder_kwargs"]["n_queries"] = 5
    (tmp_path / "other.json").write_text(json.dumps(other))
    output = tmp_path / "net.safetensors"
    options = ("--config", tmp_path / "other.json", "-o", output)
    status, out, err = call("import", reference / "checkpoint.ckpt", *options)
    assert (status, out) == (2, "")
    assert "2 of another shape: spectral_tf.queries (1, 8, 48) instead of (1, 5, 48)" in err
    assert not output.exists()
    status, _, err = call("import", tmp_path / "other.json", *options)
    assert (status, err.count("\n")) == (2, 1)
