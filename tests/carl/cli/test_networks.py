"""Commands on networks: models, download, pretrain, import."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from carl.model import download, load_model, read_model

NAME = "carl-small-satellite"
CONTENT = bytes(range(256)) * 4096
NETWORK = {
    "patch_size": 4,
    "spec_encoder_kwargs": {"embed_dim": 16, "depth": 2, "num_heads": 2, "layer_scale": None},
    "spat_encoder_kwargs": {
        "model_name": "vit_tiny_patch16_224",
        "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 2},
    },
}


def test_models_shows_which_are_trained(call, call_json):
    models = call_json("models")
    assert [m["name"] for m in models if m["default"]] == ["carl-nano"]
    out = call("models")[1]
    for model in models:
        line = next(line for line in out.splitlines() if line.startswith(model["name"]))
        expected = "carl download" if model["downloadable"] else "UNTRAINED"
        assert (expected in line) is not model["trained"]


@pytest.fixture
def zenodo(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A local server with a Zenodo record and its file of weights."""
    monkeypatch.setattr(download, "ZENODO", server.address)
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    file = {"key": "ssl_checkpoint_carl.ckpt", "size": len(CONTENT), "checksum": f"md5:{digest}"}
    server.files["/api/records/18671944"] = json.dumps({"files": [file]}).encode()
    server.files["/records/18671944/files/ssl_checkpoint_carl.ckpt"] = CONTENT
    return server


@pytest.mark.usefixtures("zenodo")
def test_download(call, call_json, carl_home: Path):
    assert f"carl download {NAME}" in call("models")[1]
    result = call_json("download", NAME)
    assert (result["model"], result["bytes"]) == (NAME, len(CONTENT))
    assert Path(result["file"]).read_bytes() == CONTENT
    assert Path(result["file"]).parent == carl_home / "weights"
    assert f"carl download {NAME}" not in call("models")[1]


def test_an_interrupted_download_is_resumed(call, zenodo, monkeypatch, carl_home: Path):
    download_file, blocks = download.download, []

    def interrupted(*arguments: Any, **options: Any) -> None:
        def stop(fraction: float, message: str) -> None:
            blocks.append(fraction)
            raise KeyboardInterrupt

        download_file(*arguments, progress=stop)

    monkeypatch.setattr(download, "download", interrupted)
    status, out, err = call("download", NAME)
    assert (status, out) == (130, "")
    assert err == (
        f"carl: Interrupted: the downloaded part is saved; 'carl download {NAME}' resumes it.\n"
    )
    assert blocks
    assert [each.suffix for each in (carl_home / "weights").glob("[!.]*")] == [".part"]
    monkeypatch.setattr(download, "download", download_file)
    assert call("download", NAME)[0] == 0
    assert zenodo.asked[-1][1] is not None


@pytest.mark.parametrize(("name", "message"), [("carl-nano", NAME), (NAME, "cannot be reached")])
def test_download_fails_in_one_line(call, zenodo, name: str, message: str, carl_home: Path):
    zenodo.close()
    status, out, err = call("download", name)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (carl_home / "weights").exists()


@pytest.fixture
def config_path(tmp_path: Path, cube_path: Path) -> Path:
    values = {
        "data": [{"kind": "folder", "path": ".", "files": [cube_path.name], "name": "ward"}],
        "output": "run", "name": "tiny", "model": NETWORK, "steps": 2, "crop": 16, "batch_size": 2,
        "workers": 0, "accelerator": "cpu",
    }  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_pretrain_and_resume(call, call_json, config_path: Path, cube_path: Path):
    status, out, err = call("pretrain", config_path)
    assert (status, err) == (0, "")
    model = config_path.parent / "run" / "tiny.safetensors"
    assert f"model        {model}\n" in out
    assert "wavelengths  450–800 nm" in out
    result = call_json("pretrain", config_path, "--resume")
    assert result == {"model": str(model), "steps": 2, "wavelengths": pytest.approx([450, 800])}
    embedded = call_json("embed", cube_path, "-o", config_path.parent / "e.npz", "--model", model)
    assert (embedded["model"], embedded["trained"]) == ("tiny", True)


def test_an_interrupted_pretraining_is_resumed(call, config_path: Path, monkeypatch):
    from carl.pretraining.lightning_trainer import RunRecorder

    saved = RunRecorder.on_train_epoch_end

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def saved_and_interrupted(*arguments: Any) -> None:
        saved(*arguments)
        raise KeyboardInterrupt

    for replacement, message in (
        (interrupted, "before its first checkpoint: start it again"),
        (saved_and_interrupted, "continue from its last checkpoint with --resume"),
    ):
        monkeypatch.setattr(RunRecorder, "on_train_epoch_end", replacement)
        status, out, err = call("pretrain", config_path)
        assert (status, out) == (130, "")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert message in err
    monkeypatch.undo()
    assert call("pretrain", config_path, "--resume")[0] == 0


def test_pretrain_fails_in_one_line(call, config_path: Path, cube_path: Path):
    def assert_fails(*arguments: object, message: str) -> None:
        status, out, err = call("pretrain", config_path, *arguments)
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1

    assert_fails("--resume", message="There is no run to resume")
    values = np.fromfile(cube_path.with_suffix(".dat"), "<f4")
    values[::50] = np.nan
    values.tofile(cube_path.with_suffix(".dat"))
    assert_fails(message="The set 'ward' holds values that are not numbers (in two)")
    config_path.write_text(config_path.read_text("utf-8").replace("steps: 2", "stepps: 2"), "utf-8")
    assert_fails(message="config.yaml: There is no key 'stepps': did you mean 'steps'?")


@pytest.fixture
def reference(carl_reference: Path) -> Path:
    return carl_reference / "vit_small_case"


@pytest.mark.parametrize("part", ["student", "teacher"])
def test_import_reads_the_student_or_the_teacher(call_json, reference, tmp_path: Path, part):
    output = tmp_path / "net.safetensors"
    options = ("--config", reference / "config.json", "-o", output)
    flags = ["--teacher"] * (part == "teacher")
    result = call_json("import", reference / "checkpoint.ckpt", *options, *flags)
    network = read_model(output)
    assert result["part"] == part
    assert result["fingerprint"] == network.fingerprint
    assert (network.name, network.trained) == ("net", True)
    student = load_model(reference / "checkpoint.ckpt", "cpu", reference / "config.json")
    assert (network.fingerprint == student.fingerprint) == (part == "student")


def test_import_rejects_another_configuration(call, reference: Path, tmp_path: Path):
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
