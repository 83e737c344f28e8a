from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from carl.errors import ModelError
from carl.model import CARLConfig
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig

CASES = ("vit_small_case", "eva_small_case")


@pytest.mark.parametrize("case", CASES)
def test_original_configuration_files_round_trip(carl_reference: Path, case: str) -> None:
    path = carl_reference / case / "config.json"
    values = json.loads(path.read_text())
    again = CARLConfig.from_file(path).to_dict()
    for key, value in values.items():
        if isinstance(value, dict):
            assert {name: again[key][name] for name in value} == value
        else:
            assert again[key] == value


def test_configuration_round_trips_through_json_and_yaml(tmp_path: Path) -> None:
    config = CARLConfig(
        patch_size=4,
        spec_encoder_kwargs=SpectralEncoderConfig(embed_dim=96, num_heads=4, layer_scale=None),
        spat_encoder_kwargs=SpatialEncoderConfig("vit_tiny_patch16_224", 2, {"embed_dim": 96}),
    )
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert CARLConfig.from_file(tmp_path / "c.json") == config
    assert CARLConfig.from_file(tmp_path / "c.yaml") == config


def test_network_is_read_from_a_complete_training_configuration(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(
        "model_kwargs:\n  patch_size: 4\n  spec_encoder_kwargs: {layer_scale: 1e-4}\n"
        "  upernet_head_kwargs: {hidden_size: 256}\ntraining_kwargs:\n  batch_size: 16\n"
    )
    config = CARLConfig.from_file(path)
    assert config.patch_size == 4
    assert config.spec_encoder_kwargs.layer_scale == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pach_size": 8}, "pach_size"),
        ({"spec_encoder_kwargs": {"n_querys": 8, "sigma": 3}}, "spec_encoder_kwargs.n_querys"),
        ({"spec_encoder_kwargs": {"sigma": 3}}, "spec_encoder_kwargs.sigma"),
        ({"spec_encoder_kwargs": {"pos_enc_sigma": float("nan")}}, "spec_encoder_kwargs.pos_enc"),
        ({"patch_size": "eight"}, "patch_size"),
        ({"patch_size": 0}, "patch_size"),
        ({"patch_size": True}, "patch_size"),
        ({"patch_size": 10**9}, "patch_size is 1000000000: it must be at most 65536"),
        ({"spec_encoder_kwargs": {"depth": 10**6}}, "depth is 1000000: it must be at most 256"),
        ({"spec_encoder_kwargs": {"n_queries": 10**6}}, "n_queries is 1000000: it must be at most"),
        ({"spec_encoder_kwargs": {"mlp_ratio": 1e9}}, "mlp_ratio is 1000000000"),
        ({"spec_encoder_kwargs": {"proj_drop": 255}}, "proj_drop is 255.0: it must be at least 0"),
        ({"spat_encoder_kwargs": {"depth": 10**6}}, "depth is 1000000"),
        ({"spat_encoder_kwargs": {"model_kwargs": {"depth": 10**6}}}, "depth is 1000000"),
        ({"spat_encoder_kwargs": {"model_kwargs": {"img_size": [10**6, 8]}}}, "img_size"),
        ({"spat_encoder_kwargs": {"model_kwargs": {"a": [0] * 2000}}}, "more than 1000 values"),
        ({"spat_encoder_kwargs": {"model_kwargs": {"checkpoint_path": "x"}}}, "checkpoint_path"),
        ({"spec_encoder_kwargs": 3}, "spec_encoder_kwargs"),
        ({"spec_encoder_kwargs": {"embed_dim": 100, "num_heads": 3}}, "num_heads"),
        ({"spec_encoder_kwargs": {"embed_dim": 9, "num_heads": 3}}, "embed_dim"),
        ({"spec_encoder_kwargs": {"readout": "mean"}}, "mean"),
        ({"spec_encoder_kwargs": {"pos_enc_sigma": -1}}, "pos_enc_sigma"),
        ({"spat_predictor_kwargs": {"predictor_embed_dim": 6, "num_heads": 1}}, "multiple of 4"),
    ],
)
def test_error_names_the_invalid_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        CARLConfig.from_dict(values)


@pytest.mark.parametrize("text", ["{not json", "", "[1, 2]"])
def test_error_names_the_unreadable_file(tmp_path: Path, text: str) -> None:
    for name in ("c.json", "c.yaml"):
        (tmp_path / name).write_text(text)
        with pytest.raises(ModelError, match=name):
            CARLConfig.from_file(tmp_path / name)
    with pytest.raises(ModelError, match="absent"):
        CARLConfig.from_file(tmp_path / "absent.yaml")
