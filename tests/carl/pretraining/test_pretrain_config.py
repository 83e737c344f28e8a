"""Errors in the configuration of a run are reported in one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from carl.errors import CarlError
from carl.model import CARLConfig
from carl.pretraining.datasets import KINDS, open_sources
from carl.pretraining.pretrain_config import (
    PretrainConfig,
    current_setting_names,
    with_predictors,
)

Recipe = Callable[..., PretrainConfig]

MINIMAL = {"data": [{"kind": "folder", "path": "cubes"}], "output": "run", "steps": 10}


def test_minimal_configuration(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    config = PretrainConfig.from_file(path)
    assert config.output == tmp_path / "run"
    assert config.data[0].name == "cubes"
    assert config.network_name == "carl-nano"
    assert config.network.spec_predictor_kwargs is not None
    assert config.network.spec_predictor_kwargs.predictor_embed_dim == 96
    assert (config.optimiser.learning_rate, config.optimiser.weight_decay) == (1e-4, 0.01)
    assert config.ema == (0.996, 0.99999)


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    config = PretrainConfig.from_dict(
        MINIMAL
        | {
            "start": "old.safetensors",
            "monitors": [{"cube": "a.hdr", "labels": "/b.png"}, {"geobench": "m-so2sat"}],
        },
        tmp_path,
    )
    assert config.start == str(tmp_path / "old.safetensors")
    assert config.monitors[0].cube == tmp_path / "a.hdr"
    assert config.monitors[0].labels == Path("/b.png")
    assert [each.name for each in config.monitors] == ["a", "m-so2sat"]
    assert PretrainConfig.from_dict(MINIMAL | {"start": "public"}, tmp_path).start == "public"


def test_recipes_of_the_documentation_are_valid(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "pretraining.md"
    if not page.is_file():
        pytest.skip("needs the documentation, which is not part of the source package")
    recipes = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(recipes) == 2
    for recipe in recipes:
        PretrainConfig.from_dict(yaml.safe_load(recipe), tmp_path)
    for kind in KINDS:
        assert f"| `{kind}` |" in page.read_text(encoding="utf-8")


def test_missing_predictors_are_added() -> None:
    for width, heads in ((12, 3), (10, 5), (384, 6)):
        values = {"spec_encoder_kwargs": {"embed_dim": width, "num_heads": heads}}
        config = with_predictors(CARLConfig.from_dict(values))
        assert config.spat_predictor_kwargs is not None
        assert config.spat_predictor_kwargs.predictor_embed_dim >= width
    given = CARLConfig.from_dict({"spec_predictor_kwargs": {"depth": 1}})
    unchanged = with_predictors(given).spec_predictor_kwargs
    assert unchanged is not None
    assert unchanged.depth == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data": []}, "data is empty"),
        ({"data": [{"kind": "folders"}]}, r"data\[0\].kind is 'folders': choose one of folder, "),
        ({"data": [3]}, r"data\[0\].kind is 3: choose"),
        ({"data": [{"kind": "folder"}]}, r"The key 'data\[0\].path' is missing"),
        (
            {"data": [{"kind": "folder", "path": "x", "wheight": 1}]},
            r"no key 'data\[0\].wheight'",
        ),
        (
            {"data": [{"kind": "folder", "path": "x", "weight": 0}]},
            "The weight of the set '' is 0",
        ),
        (
            {"data": [{"kind": "folder", "path": "x", "bands": [9, 3]}]},
            r"bands is \[9, 3\]: give the smallest",
        ),
        (
            {"data": [{"kind": "folder", "path": "x", "contiguous": 2}]},
            "contiguous is 2.0: give a fraction",
        ),
        (
            {"data": [{"kind": "simulated", "kinds": ["bone"]}]},
            "There are no scenes 'bone': choose from organ",
        ),
        (
            {"data": [{"kind": "simulated", "range_nm": [100, 900]}]},
            r"range_nm is \[100.0, 900.0\]: the simulator covers 380 to 2500",
        ),
        ({"steps": 0}, "steps is 0: it must be positive"),
        ({"step": 3}, "no key 'step': did you mean 'steps'"),
        ({"steps": None}, "steps is None, which should be a whole number"),
        ({"objective": "clip"}, "objective is 'clip': choose one of ssl, mae"),
        ({"loss": "l2"}, "loss is 'l2': choose one of vicreg, intl"),
        ({"precision": "fp8"}, "precision is 'fp8': choose one of float32, bf16"),
        ({"crop": 20}, "crop is 20: it must be a multiple of the patch size, 8"),
        ({"model": "carl-huge"}, "model is 'carl-huge': choose one of carl-nano"),
        ({"model": {"patch": 3}}, "no key .patch."),
        ({"optimiser": {"learning_rate": "fast"}}, "optimiser.learning_rate is 'fast'"),
        ({"optimiser": {"learning_rate": -1}}, "optimiser.learning_rate is -1.0: it must be pos"),
        ({"optimiser": {"weight_decay": -1}}, "optimiser.weight_decay is -1.0: it must be 0"),
        ({"ema": [0.9, 0.5]}, r"ema is \[0.9, 0.5\]"),
        ({"batch_size": 1}, "batch_size is 1: the variance"),
        ({"seed": -1}, "seed and workers must be 0 or more"),
        ({"mae": {"hidden_bands": 0}}, "mae.hidden_bands is 0.0"),
        ({"monitors": [{"cube": "a"}]}, "A monitor needs either 'cube' and 'labels', or 'geo"),
        ({"monitors": [{"geobench": "a", "every": 0}]}, "monitors.every is 0"),
    ],
)
def test_invalid_values_are_reported(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | keys))
    with pytest.raises(CarlError, match=message) as caught:
        PretrainConfig.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "\x00", "just words", ""])
def test_file_without_a_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(CarlError, match=r"recipe\.yaml") as caught:
        PretrainConfig.from_file(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CarlError, match=r"none\.yaml cannot be read"):
        PretrainConfig.from_file(tmp_path / "none.yaml")


def test_missing_data_set_is_named(recipe: Recipe) -> None:
    config = recipe(data=[{"kind": "folder", "path": "/nowhere", "name": "clinic"}])
    with pytest.raises(CarlError, match=r"^The set 'clinic': The folder /nowhere of cubes does no"):
        open_sources(config.data)


def test_resume_settings_include_what_changes_the_result(recipe: Recipe) -> None:
    settings = recipe().resume_settings()
    assert settings == recipe(workers=3, log_every=7, devices=2, batch_size=2).resume_settings()
    assert settings == replace(recipe(), output=Path("elsewhere")).resume_settings()
    for other in (recipe(seed=1), recipe(batch_size=8), recipe(checkpoint_every=3)):
        assert settings != other.resume_settings()


def test_keys_of_earlier_versions_are_accepted() -> None:
    config = PretrainConfig.from_dict(MINIMAL | {"mae": {"told_bands": 3}})
    assert config.mae.predicted_bands == 3
    former = config.resume_settings()
    former["mae"] = former["mae"].replace("predicted_bands=", "told_bands=")
    assert current_setting_names(former) == config.resume_settings()
