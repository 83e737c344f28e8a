from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from carl.cube import SpectralCube
from carl.errors import CarlError, LabelError
from carl.io import write_cube, write_labels
from carl.model import CARL, CARLConfig, build_model
from carl.pretraining.pretrain_config import MonitorConfig
from carl.pretraining.probing import (
    GeoBenchMonitor,
    open_monitors,
    patch_labels,
    probe,
    split_in_space,
)

RNG = np.random.default_rng(0)


def clusters(n: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    labels = 1 + np.arange(n) % 3
    centres = np.eye(3, 8)[labels - 1]
    return (centres + RNG.normal(0, spread, (n, 8))).astype(np.float32), labels


def test_probe_separates_clusters_but_not_noise() -> None:
    sharp = probe(clusters(120, 0.05), clusters(90, 0.05), neighbours=5)
    assert sharp == {"knn": 1, "knn_accuracy": 1, "linear": 1, "linear_accuracy": 1}
    features, labels = clusters(300, 0.05)
    noise = probe((RNG.normal(size=features.shape), labels), (features, labels), neighbours=5)
    assert noise["linear"] < 0.7


def test_probe_subsamples_many_labels_and_refuses_too_few() -> None:
    scores = probe(clusters(9000, 0.1), clusters(9000, 0.1), neighbours=20)
    assert scores["knn"] > 0.95
    features, labels = clusters(6, 0.1)
    with pytest.raises(LabelError, match="too few labels to probe on"):
        probe((features, np.ones(6, int)), (features, labels), neighbours=1)


def test_patch_label_covers_half_of_its_pixels() -> None:
    labels = np.zeros((9, 8), np.uint8)
    labels[:4, :4] = 1  # all of the first patch
    labels[:4, 4:6] = 2  # half of the second
    labels[4:8, :1] = 3  # a quarter
    labels[8:] = 4  # a row of a patch that is cut off
    assert patch_labels(labels, 4).tolist() == [[1, 2], [0, 0], [0, 0]]


def test_training_and_test_patches_form_a_checkerboard() -> None:
    features = np.dstack(np.indices((16, 12))).astype(np.float32)
    labels = np.ones((16, 12), int)
    labels[0, 0] = 0
    (first, _), (second, _) = split_in_space(features, labels)
    assert len(first) + len(second) == 16 * 12 - 1
    assert not {tuple(position) for position in first} & {tuple(position) for position in second}
    assert {(row // 4 + column // 4) % 2 for row, column in first} == {0}


BANDS = ["02 - Blue", "03 - Green", "04 - Red", "08 - NIR"]
SPECTRA = np.array([[200, 300, 400, 500], [500, 400, 300, 200]])


@pytest.fixture
def network() -> CARL:
    config = {
        "patch_size": 4,
        "spec_encoder_kwargs": {"embed_dim": 16, "depth": 2, "num_heads": 2, "layer_scale": None},
        "spat_encoder_kwargs": {
            "model_name": "vit_tiny_patch16_224",
            "model_kwargs": {"embed_dim": 24, "num_heads": 2, "depth": 2},
        },
    }
    return build_model(CARLConfig.from_dict(config)).eval()


def write_set(folder: Path, *, segmentation: bool) -> Path:
    """Write images of two materials, labelled as a whole or in each half."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"id_{number}" for number in range(12)]
    for number, name in enumerate(names):
        label = number % 2
        mask = np.full((16, 16), label)
        if segmentation:
            mask[:, 8:] = 1 - label
        values = SPECTRA[mask] + rng.normal(0, 10, (16, 16, 4))
        with h5py.File(folder / f"{name}.hdf5", "w") as file:
            for band, picture in zip(BANDS, np.moveaxis(values, -1, 0), strict=True):
                file[band] = picture.astype(np.int16)
            if segmentation:
                file["label"] = mask
            file.attrs["pickle"] = str(pickle.dumps({"label": label}))
    splits = {"train": names[:6], "valid": names[6:]}
    (folder / "default_partition.json").write_text(json.dumps(splits))
    return folder


@pytest.mark.parametrize("segmentation", [False, True])
def test_geobench_monitor(tmp_path: Path, network: CARL, segmentation: bool) -> None:
    folder = write_set(tmp_path / "m-set", segmentation=segmentation)
    (monitor,) = open_monitors([MonitorConfig(geobench=folder, neighbours=3)])
    assert isinstance(monitor, GeoBenchMonitor)
    before = [each.clone() for each in network.parameters()]
    result = monitor.measure(network)
    assert result.picture is None
    assert result.scores["spatial_knn"] > 0.8
    assert result.scores["spatial_linear"] > 0.8
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_cube_monitor(tmp_path: Path, network: CARL) -> None:
    labels = np.ones((48, 50), np.uint8)
    labels[24:] = 2
    values = SPECTRA[labels - 1] + np.random.default_rng(0).normal(0, 10, (48, 50, 4))
    write_cube(tmp_path / "a.hdr", SpectralCube(values.astype("f4"), np.linspace(450, 850, 4)))
    write_labels(tmp_path / "a.png", labels)
    config = MonitorConfig(tmp_path / "a.hdr", tmp_path / "a.png", name="a", neighbours=3)
    result = open_monitors([config])[0].measure(network)
    assert set(result.scores) == {
        f"{kind}_{classifier}{measure}"
        for kind in ("spatial", "spectral")
        for classifier in ("knn", "linear")
        for measure in ("", "_accuracy")
    }
    assert result.scores["spectral_knn"] > 0.9
    assert result.picture is not None
    assert result.picture.shape == (48, 50, 3)


def test_unusable_monitor_is_named(tmp_path: Path, network: CARL) -> None:
    lost = MonitorConfig(tmp_path / "a.hdr", tmp_path / "a.png", name="ward 3")
    with pytest.raises(CarlError, match=r"^The monitor 'ward 3': .*a\.hdr does not exist"):
        open_monitors([lost])
    folder = write_set(tmp_path / "m-set", segmentation=False)
    for path in folder.glob("*.hdf5"):
        with h5py.File(path, "a") as file:
            file.attrs["pickle"] = str(pickle.dumps({"label": [0, 1]}))
    with pytest.raises(LabelError, match="multi-label"):
        open_monitors([MonitorConfig(geobench=folder)])[0].measure(network)
