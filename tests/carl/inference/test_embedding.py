from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlError, CubeError, WavelengthError
from carl.inference import Embedding, embed
from carl.inference.fast import FastBackend
from carl.model import CARL
from carl.spectra.normalise import cube_statistics

NM = np.linspace(400, 790, 7)


def cube(height: int = 37, width: int = 29) -> SpectralCube:
    random = np.random.default_rng(height)
    return SpectralCube(random.normal(3, 2, (height, width, 7)).astype(np.float32), NM)


def by_forward_pass(data: np.ndarray, model: CARL) -> tuple[np.ndarray, np.ndarray]:
    """Spatial and spectral features by one plain forward pass over a padded, normalised cube."""
    pad = [(0, -n % model.patch_size) for n in data.shape[:2]]
    mean, std = cube_statistics(SpectralCube(data, NM))
    normalised = np.pad((data - mean) / std, [*pad, (0, 0)], mode="reflect")
    image = torch.from_numpy(normalised.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        output = model(image, torch.tensor(NM / 1000, dtype=torch.float32)[None])
    spatial, spectral = (each[0].permute(1, 2, 0).numpy() for each in output)
    return spatial, spectral


def test_features_are_those_of_the_forward_pass(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carl.inference.feature_maps._BLOCK_BYTES", 10_000)
    embedding = embed(cube(), tiny_model, precision="float32")
    spatial, spectral = by_forward_pass(cube().to_numpy(), tiny_model)
    np.testing.assert_allclose(embedding.spectral, spectral, atol=1e-4)
    np.testing.assert_allclose(embedding.spatial, spatial, atol=1e-4)
    assert embedding.shape == (37, 29)
    assert embedding.speed == "exact"
    assert embedding.fidelity is None
    assert embedding.pca(3).shape == (37, 29, 3)


def test_the_cube_is_read_in_blocks(tiny_model: CARL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carl.inference.feature_maps._BLOCK_BYTES", 20_000)
    monkeypatch.setattr("carl.inference.patches.cube_statistics", lambda *_: (0.0, 1.0))
    data = RecordingArray(cube(160, 40).to_numpy())
    embed(SpectralCube(data, NM), tiny_model)
    assert max(data.read_sizes) < data.values.size / 8
    assert sum(data.read_sizes) < 1.5 * data.values.size


class RecordingArray:
    """Pixels that record how many values are read at a time."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.shape = values.shape
        self.dtype = values.dtype
        self.read_sizes: list[int] = []

    def __getitem__(self, key: Any) -> np.ndarray:
        block = self.values[key]
        self.read_sizes.append(block.size)
        return block


def test_bad_bands_and_missing_values_are_ignored(tiny_model: CARL) -> None:
    clean = embed(cube(), tiny_model, precision="float32")
    data = np.concatenate([cube().to_numpy(), np.full((37, 29, 1), 1e9, np.float32)], axis=2)
    data[5, 5, 2] = np.nan
    good = np.array([True] * 7 + [False])
    dirty = embed(
        SpectralCube(data, np.append(NM, 900), good_bands=good), tiny_model, precision="float32"
    )
    assert np.isfinite(dirty.spatial).all()
    changed = np.abs(dirty.spectral - clean.spectral).max(axis=2) > 1e-2
    assert changed.sum() <= 1


def test_turbo_runs_fewer_bands(tiny_model: CARL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carl.inference.planning.MIN_FIDELITY", -1.0)
    n_bands = set()
    encode = FastBackend.encode_spectral

    def recorded(self: FastBackend, strip: Tensor, *rest: Any) -> Tensor:
        n_bands.add(len(strip))
        return encode(self, strip, *rest)

    monkeypatch.setattr(FastBackend, "encode_spectral", recorded)
    turbo = embed(cube(), tiny_model, speed="turbo")
    assert turbo.speed == "turbo"
    assert turbo.fidelity is not None
    assert n_bands == {7, 3}  # the sample with all bands; the sample and the cube with three groups


def test_a_saved_embedding_can_be_loaded(tiny_model: CARL, tmp_path: Path) -> None:
    embedding = embed(cube(), tiny_model, speed="turbo")
    embedding.save(tmp_path / "features.npz")
    loaded = Embedding.load(tmp_path / "features.npz")
    np.testing.assert_array_equal(loaded.spatial, embedding.spatial)
    np.testing.assert_array_equal(loaded.spectral, embedding.spectral)
    arrays = {"spatial": embedding.spatial, "spectral": embedding.spectral}
    assert vars(replace(loaded, **arrays)) == vars(embedding)
    assert list(tmp_path.iterdir()) == [tmp_path / "features.npz"]


def test_a_file_of_an_earlier_version_can_be_loaded(tmp_path: Path) -> None:
    features = np.ones((2, 3, 4), np.float32)
    metadata = {
        "shape": [16, 24], "patch_size": 8, "model": "m", "fingerprint": "f",
        "precision": "bf16", "speed": "turbo", "fidelity": 0.995,
    }  # fmt: skip
    facts = np.array(json.dumps(metadata))
    np.savez(tmp_path / "old.npz", spatial=features, spectral=-features, facts=facts)
    loaded = Embedding.load(tmp_path / "old.npz")
    np.testing.assert_array_equal(loaded.spectral, -features)
    assert loaded.shape == (16, 24)
    assert (loaded.model, loaded.fidelity) == ("m", 0.995)


def test_a_file_of_a_newer_version_is_refused(
    tiny_model: CARL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "features.npz"
    with monkeypatch.context() as patch:
        patch.setattr("carl.inference.embedding._VERSION", 2)
        embed(cube(), tiny_model).save(path)
        assert Embedding.load(path).shape == cube().shape[:2]
    with pytest.raises(CarlError, match=r"features\.npz was made by a newer version of CARL"):
        Embedding.load(path)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_that_is_not_an_embedding_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.npz"
    if content is None:
        np.savez(path, something=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(CarlError, match=r"other\.npz is not a saved embedding"):
        Embedding.load(path)


@pytest.mark.parametrize("shape", [[16] * 65, [16, 16], [], ["16", "24"], 16])
def test_features_of_another_size_than_the_cube_are_refused(tmp_path: Path, shape: Any) -> None:
    path = tmp_path / "features.npz"
    features = np.ones((2, 3, 4), np.float32)
    Embedding(features, features, (16, 24), 8, "m", "f", "bf16", "turbo").save(path)
    assert Embedding.load(path).shape == (16, 24)
    Embedding(features, features, shape, 8, "m", "f", "bf16", "turbo").save(path)
    with pytest.raises(CarlError, match=r"features\.npz is not a saved embedding, or is damaged"):
        Embedding.load(path)


def test_unusable_cubes_and_options_are_refused(tiny_model: CARL) -> None:
    with pytest.raises(WavelengthError, match="has no wavelengths"):
        embed(SpectralCube(np.ones((9, 9, 3))), tiny_model)
    with pytest.raises(CubeError, match="holds missing values only"):
        embed(SpectralCube(np.full((9, 9, 7), np.nan), NM), tiny_model)
    with pytest.raises(CarlError, match="'fast' is not a speed"):
        embed(cube(), tiny_model, speed="fast")  # type: ignore[arg-type]
    with pytest.raises(CarlError, match="'half' is not a precision"):
        embed(cube(), tiny_model, precision="half")  # type: ignore[arg-type]


def test_a_constant_cube_is_embedded(tiny_model: CARL) -> None:
    flat = embed(SpectralCube(np.full((9, 9, 7), 5.0), NM), tiny_model)
    assert np.isfinite(flat.spatial).all()
    assert np.ptp(flat.spectral, axis=(0, 1)).max() < 1e-5
    assert np.isfinite(flat.pca()).all()


def test_progress_rises_to_one_and_cancels(tiny_model: CARL) -> None:
    reported: list[float] = []
    embed(cube(), tiny_model, progress=lambda fraction, _: reported.append(fraction))
    assert reported == sorted(reported)
    assert reported[-1] == pytest.approx(1)

    def stop(fraction: float, message: str) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        embed(cube(), tiny_model, progress=stop)
