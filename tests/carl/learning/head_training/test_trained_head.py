from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.numpy import load_file, save_file

from carl.cube import SpectralCube
from carl.errors import Cancelled, ModelError
from carl.io import read_cube, read_labels
from carl.learning import Segmenter, compute_features
from carl.learning.head_training import TrainedHead, load_predictor, train, trained_head
from carl.learning.head_training.trained_head import HeadTiles
from carl.metrics import evaluate
from carl.model.heads import HEADS
from carl.spectra.normalise import cube_statistics

SMALL = {
    "adapter": {"num_heads": 2, "channels": 8, "n_colours": 4},
    "swin": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 4], "window": 4},
    "upernet": {"hidden_size": 16},
    "mask2former": {
        "hidden_size": 64, "num_heads": 4, "encoder_layers": 1, "decoder_layers": 3, "queries": 4,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def cube(folder: Path) -> SpectralCube:
    return read_cube(folder / "tissue.hdr")


@pytest.fixture(scope="module")
def trained(recipe) -> TrainedHead:
    return train(recipe(held_out=0, steps=80), device="cpu").trained


@pytest.mark.parametrize("name", HEADS)
def test_a_loaded_head_predicts_the_same(recipe, cube, tmp_path: Path, name: str):
    head = train(recipe(head={"name": name, **SMALL}, steps=2, held_out=0), device="cpu").trained
    head.save(tmp_path / "head.carl")
    random_numbers = torch.random.get_rng_state()
    loaded = load_predictor(tmp_path / "head.carl", "cpu")
    assert torch.equal(torch.random.get_rng_state(), random_numbers)
    assert isinstance(loaded, TrainedHead)
    assert (loaded.config, loaded.classes, loaded.size) == (head.config, head.classes, 16)
    assert loaded.head.carl.fingerprint == head.head.carl.fingerprint
    weights = loaded.head.state_dict()
    assert all(torch.equal(each, weights[key]) for key, each in head.head.state_dict().items())
    assert not loaded.head.training
    if loaded.output == "image classes":
        assert loaded.classify(cube) == head.classify(cube)
        with pytest.raises(ModelError, match="classifies whole images"):
            loaded.predict(cube)
    else:
        np.testing.assert_array_equal(loaded.predict(cube).scores, head.predict(cube).scores)
        with pytest.raises(ModelError, match="predicts label maps"):
            loaded.classify(cube)


def test_the_header_describes_the_head_without_local_paths(trained, folder, tmp_path: Path):
    trained.save(tmp_path / "head.carl")
    with safetensors.safe_open(tmp_path / "head.carl", framework="np") as file:
        header = json.loads(file.metadata()["carl_head"])
    assert header["head"]["name"] == "linear"
    assert header["network"]["name"] == "tiny"
    assert header["classes"] == [
        [1, "lumen", [230, 159, 0]], [2, "urothelium", [86, 180, 233]]
    ]  # fmt: skip
    assert header["training"]["config"]["pairs"][0]["cube"] == "tissue.hdr"
    assert header["training"]["config"]["seed"] == 0
    assert str(folder) not in json.dumps(header)


def test_a_stroke_corrects_a_head(trained, cube):
    data = np.array(cube.data)
    data[:40, :40] *= np.linspace(0.2, 0.9, 8)  # a vessel
    cube = SpectralCube(data, wavelengths=cube.wavelengths)
    before = trained.predict(cube)
    correction = np.zeros(before.labels.shape, np.uint8)
    correction[20, 10:30] = 9
    refined = trained.refine(cube, correction)
    after = refined.predict(cube).labels
    assert (after == 9)[correction > 0].all()
    assert (after == 9)[5:35, 5:35].mean() > 0.9
    assert (after == before.labels)[45:].mean() > 0.8
    assert [each.name for each in refined.classes] == ["lumen", "urothelium", "class 9"]
    assert refined.description.endswith(f"of the map of a head ({trained.description})")
    np.testing.assert_array_equal(trained.predict(cube).labels, before.labels)


def test_the_refined_map_is_that_of_the_head_where_nothing_is_corrected(trained, cube):
    before = trained.predict(cube).labels
    agreeing = np.where(np.indices(before.shape)[0] == 7, before, 0)
    features = compute_features(cube)
    refined = trained.bind(features).prepare_refinement().fit(agreeing)
    assert refined.training_features == (features,)
    assert (refined.predict(cube).labels == before).mean() > 0.9


def test_predictions_are_right_and_without_seams(trained, cube, folder: Path):
    reported = []
    prediction = trained.predict(cube, progress=lambda fraction, _: reported.append(fraction))
    truth = read_labels(folder / "tissue_labels.png").labels
    assert evaluate(prediction.labels, truth).miou > 0.95
    assert prediction.probabilities.shape == (80, 120, 2)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=2), 1, atol=1e-5)
    assert reported == sorted(reported)
    assert reported[-1] == 1
    small = SpectralCube(cube.read(slice(0, 13), slice(0, 9)), cube.wavelengths)
    with torch.no_grad():
        mean, std = cube_statistics(small)
        image = torch.from_numpy((small.to_numpy() - mean) / std).movedim(-1, 0)[None]
        nm = torch.as_tensor(cube.wavelengths / 1000, dtype=torch.float32)
        alone = trained.head(image, nm).softmax(dim=1)[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(trained.predict(small).probabilities, alone, atol=1e-4)


def test_windows_in_any_order_give_the_whole(trained, cube):
    whole = trained.predict(cube)
    bound = trained.bind(cube)
    assert not bound.is_precomputed
    assert len(bound.windows) > 3
    for region in (*reversed(bound.windows), np.s_[5:70, 11:100], np.s_[3:77:4, 0:120:7]):
        window = bound.predict_window(region)
        np.testing.assert_array_equal(window.labels, whole.labels[region])
        np.testing.assert_array_equal(window.scores, whole.scores[region])


def test_tiles_that_windows_share_are_predicted_once(trained, cube, monkeypatch):
    tiles = []
    predict = HeadTiles._predict_tile

    def recording(self, tile):
        tiles.append((tile.rows.start, tile.columns.start))
        return predict(self, tile)

    monkeypatch.setattr(HeadTiles, "_predict_tile", recording)
    trained.predict(cube)
    assert len(tiles) == len(set(tiles)) > 20


def test_memory_does_not_grow_with_the_cube(trained, cube, monkeypatch):
    monkeypatch.setattr(trained_head, "_CACHED_BYTES", 1 << 16)
    values = np.tile(cube.to_numpy(), (3, 1, 1))

    def peak(n_rows: int) -> int:
        tall = SpectralCube(values[:n_rows], cube.wavelengths)
        bound = trained.bind(tall)
        tracemalloc.start()
        for region in bound.windows:
            bound.predict_window(region)
        _, at_most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return at_most

    peak(120)  # the first prediction also imports modules
    assert peak(240) < 1.2 * peak(120)


def test_pixels_without_data_get_no_label(trained, cube):
    values = cube.to_numpy()
    values[10:20, 30:50] = np.nan
    values[40, 60, 2] = np.nan
    prediction = trained.predict(SpectralCube(values, cube.wavelengths))
    assert np.all(prediction.labels[10:20, 30:50] == 0)
    assert np.count_nonzero(prediction.labels == 0) == 200
    assert np.isfinite(prediction.scores).all()


def test_predicting_can_be_cancelled(trained, cube):
    def stop(fraction: float, message: str) -> None:
        if message == "Predicting":
            raise Cancelled

    with pytest.raises(Cancelled):
        trained.predict(cube, progress=stop)


def test_damaged_files_are_refused(trained, tmp_path: Path):
    path = tmp_path / "head.carl"
    trained.save(path)
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
    weights = load_file(path)

    def refused(words: str) -> None:
        with pytest.raises(ModelError) as caught:
            load_predictor(path, "cpu")
        assert words in str(caught.value)
        assert "head.carl" in str(caught.value)

    del metadata["crc32"]  # as in files of earlier versions
    name = "classifier.linear.weight"
    save_file({key: each for key, each in weights.items() if key != name}, path, metadata)
    refused(f"1 missing: {name}")
    save_file(weights, path, {"carl_head": json.dumps({"version": 1})})
    refused("cannot be read as a trained head")
    save_file(weights, path, metadata | {"crc32": "00000000"})
    refused("cannot be read as a trained head")
    header = json.loads(metadata["carl_head"])
    for change in ({"size": 10**9}, {"size": 1.5}, {"training": {"scores": 3}}, {"classes": []}):
        save_file(weights, path, {"carl_head": json.dumps(header | change)})
        refused("cannot be read as a trained head")
    save_file(weights, path, {"carl_head": json.dumps({"version": 2})})
    refused("was made by a newer version of CARL: update")
    save_file(weights, path, {"other": "file"})
    refused("cannot be read as a saved segmenter")
    path.write_bytes(b"nonsense")
    refused("cannot be read as a saved segmenter")


def test_segmenters_are_loaded_by_the_same_call(cube, folder: Path, tmp_path: Path):
    labels = read_labels(folder / "tissue_labels.png").labels
    Segmenter().fit(cube, labels).save(tmp_path / "strokes.carl")
    assert isinstance(load_predictor(tmp_path / "strokes.carl", "cpu"), Segmenter)
