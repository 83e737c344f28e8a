"""What the commands print and write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import carl
from carl.io import LabelClass, read_labels, write_labels

NM = np.linspace(450, 800, 8)  # of the cube in conftest.py
SHAPE = (40, 48)


def test_version(call):
    assert call("--version") == (0, f"carl {carl.__version__}\n", "")


def test_help_names_every_command(call):
    status, out, _ = call("--help")
    assert status == 0
    for command in ("info", "models", "cameras", "embed", "fit", "predict", "evaluate"):
        assert command in out
        assert call(command, "--help")[0] == 0


def test_cameras(call, call_json):
    cameras = call_json("cameras")
    assert cameras
    assert all(len(c["wavelengths"]) > 0 and c["description"] for c in cameras)
    status, out, _ = call("cameras")
    assert status == 0
    assert all(camera["name"] in out for camera in cameras)


def test_models_say_whether_they_are_trained(call, call_json):
    models = call_json("models")
    assert [m["name"] for m in models if m["default"]] == ["carl-nano"]
    out = call("models")[1]
    for model in models:
        line = next(line for line in out.splitlines() if line.startswith(model["name"]))
        told = "carl download" if model["downloadable"] else "UNTRAINED"
        assert (told in line) is not model["trained"]


def test_info(call, call_json, cube_path: Path):
    facts = call_json("info", cube_path)
    assert (facts["height"], facts["width"], facts["bands"]) == (*SHAPE, 8)
    np.testing.assert_allclose(facts["wavelengths"], NM)
    assert "450–800 nm" in call("info", cube_path)[1]


def test_info_takes_wavelengths_from_the_command(call_json, tmp_path: Path):
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random((9, 11, 5), np.float32))
    (tmp_path / "bands.csv").write_text("wavelength\n500\n510\n520\n530\n545\n")
    plain = call_json("info", tmp_path / "plain.npy")
    assert plain["wavelengths"] is None
    by_range = call_json("info", tmp_path / "plain.npy", "--wavelengths", "400:440:10")
    assert by_range["wavelengths"] == [400, 410, 420, 430, 440]
    by_file = call_json("info", tmp_path / "plain.npy", "--wavelengths", tmp_path / "bands.csv")
    assert by_file["wavelengths"] == [500, 510, 520, 530, 545]


def test_embed(call_json, cube_path: Path, tmp_path: Path):
    out, picture = tmp_path / "new" / "two.npz", tmp_path / "two.png"
    facts = call_json("embed", cube_path, "-o", out, "--pca", picture, "--device", "cpu")
    with np.load(out, allow_pickle=False) as arrays:
        assert list(arrays["spatial"].shape) == facts["spatial"]
        assert list(arrays["spectral"].shape) == facts["spectral"]
        assert np.isfinite(arrays["spatial"]).all()
    with Image.open(picture) as image:
        assert image.size == (SHAPE[1], SHAPE[0])
        assert np.ptp(np.asarray(image)) > 100


def test_fit_predict_evaluate(
    call_json, cube_path: Path, strokes_path: Path, tmp_path: Path, truth
):
    pair = ("--pair", cube_path, strokes_path)
    fitted = call_json("fit", *pair, "-o", tmp_path / "two.carl", "--classes", "left,right")
    assert fitted["classes"] == {"left": 48, "right": 42}
    out = tmp_path / "out"
    model = ("--model", tmp_path / "two.carl")
    shares = call_json("predict", cube_path, *model, "-o", out, "--probabilities")
    assert shares[str(out / "two_labels.tif")]["left"] == pytest.approx(0.5, abs=0.02)
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


def test_fit_learns_from_several_cubes(
    call_json, cube_path: Path, strokes_path: Path, tmp_path: Path
):
    labels = read_labels(strokes_path).labels
    write_labels(tmp_path / "a.tif", labels * (labels == 1), [LabelClass(1, "left", (9, 9, 9))])
    write_labels(tmp_path / "b.tif", labels * (labels == 2))
    fitted = call_json(
        "fit", "--pair", cube_path, tmp_path / "a.tif", "--pair", cube_path, tmp_path / "b.tif",
        "--model", "none", "-o", tmp_path / "two.carl",
    )  # fmt: skip
    assert fitted["classes"] == {"left": 48, "class 2": 42}


def test_fine_tuning_is_reported(call_json, cube_path: Path, strokes_path: Path, tmp_path: Path):
    pair = ("--pair", cube_path, strokes_path)
    fitted = call_json("fit", *pair, "-o", tmp_path / "two.carl", "--tune", "last_blocks")
    assert isinstance(fitted["fine_tuning"]["kept"], bool)


def test_evaluate_names_classes(call, tmp_path: Path, truth: np.ndarray):
    write_labels(tmp_path / "truth.png", truth, [LabelClass(1, "lumen", (1, 2, 3))])
    write_labels(tmp_path / "guess.png", np.ones_like(truth))
    status, out, _ = call("evaluate", tmp_path / "guess.png", tmp_path / "truth.png")
    assert status == 0
    assert "IoU lumen    0.5000" in out
    assert "mIoU         0.2500" in out
