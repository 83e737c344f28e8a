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
from carl.pretraining.monitors import GeoBenchMonitor, open_monitors
from carl.pretraining.pretrain_config import MonitorConfig

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
    """Pictures of two materials; their label is the material, everywhere or in each half."""
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
def test_a_set_of_geobench(tmp_path: Path, network: CARL, segmentation: bool) -> None:
    folder = write_set(tmp_path / "m-set", segmentation=segmentation)
    (monitor,) = open_monitors([MonitorConfig(geobench=folder, neighbours=3)])
    assert isinstance(monitor, GeoBenchMonitor)
    before = [each.clone() for each in network.parameters()]
    measured = monitor.measure(network)
    assert measured.picture is None
    assert measured.scores["spatial_knn"] > 0.8
    assert measured.scores["spatial_linear"] > 0.8
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_labelled_cube(tmp_path: Path, network: CARL) -> None:
    labels = np.ones((48, 50), np.uint8)
    labels[24:] = 2
    values = SPECTRA[labels - 1] + np.random.default_rng(0).normal(0, 10, (48, 50, 4))
    write_cube(tmp_path / "a.hdr", SpectralCube(values.astype("f4"), np.linspace(450, 850, 4)))
    write_labels(tmp_path / "a.png", labels)
    config = MonitorConfig(tmp_path / "a.hdr", tmp_path / "a.png", name="a", neighbours=3)
    measured = open_monitors([config])[0].measure(network)
    assert set(measured.scores) == {
        f"{kind}_{judge}{measure}"
        for kind in ("spatial", "spectral")
        for judge in ("knn", "linear")
        for measure in ("", "_accuracy")
    }
    assert measured.scores["spectral_knn"] > 0.9
    assert measured.picture is not None
    assert measured.picture.shape == (48, 50, 3)


def test_what_cannot_be_probed_is_named(tmp_path: Path, network: CARL) -> None:
    lost = MonitorConfig(tmp_path / "a.hdr", tmp_path / "a.png", name="ward 3")
    with pytest.raises(CarlError, match=r"^The monitor 'ward 3': .*a\.hdr does not exist"):
        open_monitors([lost])
    folder = write_set(tmp_path / "m-set", segmentation=False)
    for path in folder.glob("*.hdf5"):
        with h5py.File(path, "a") as file:
            file.attrs["pickle"] = str(pickle.dumps({"label": [0, 1]}))
    with pytest.raises(LabelError, match="several labels"):
        open_monitors([MonitorConfig(geobench=folder)])[0].measure(network)
