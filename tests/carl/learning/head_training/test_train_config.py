from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from carl.errors import CarlError
from carl.learning.head_training import TrainConfig

PAIR = {"cube": "a.hdr", "labels": "a.png", "wavelengths": "380:770:10"}


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path):
    (tmp_path / "own.safetensors").touch()
    (tmp_path / "recipe.yaml").write_text(
        """
        output: tissue.carl
        head: {name: swin-mask2former, swin: {embed_dim: 48, num_heads: [2, 4, 8, 16]}}
        model: own.safetensors
        pairs: [{cube: a.hdr, labels: a.png}]
        validation: [{cube: /data/b.hdr, labels: b.png}]
        """
    )
    config = TrainConfig.from_file(tmp_path / "recipe.yaml")
    assert config.output == tmp_path / "tissue.carl"
    assert (config.pairs[0].cube, config.pairs[0].labels) == (
        tmp_path / "a.hdr",
        tmp_path / "a.png",
    )
    assert config.validation[0].cube == Path("/data/b.hdr")
    assert config.model == str(tmp_path / "own.safetensors")
    assert config.head.swin.num_heads == (2, 4, 8, 16)
    assert config.head.mask2former.queries == 100


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"pairs": []}, "Training needs either 'pairs' or 'geobench'"),
        ({"geobench": "m-eurosat"}, "Training needs either 'pairs' or 'geobench'"),
        ({"output": "net.safetensors"}, "give it a name that ends in .carl"),
        ({"head": "upernet"}, "head.name is 'upernet': choose one of linear"),
        ({"head": {"name": "linear", "swim": {}}}, "no key 'head.swim': did you mean 'swin'?"),
        ({"batch_size": 1}, "batch_size is 1: it must be 2 or more"),
        ({"crop": 4}, "crop is 4: it must be 8 or more"),
        ({"steps": 0}, "steps is 0: it must be positive"),
        ({"network_rate": -1}, "network_rate is -1.0: it must be 0 or more"),
        ({"held_out": 1.0}, "held_out is 1.0: give a fraction"),
        ({"pairs": [{"cube": "a.hdr"}]}, "The key 'pairs[0].labels' is missing"),
        ({"stepz": 3}, "There is no key 'stepz': did you mean 'steps'?"),
    ],
)
def test_invalid_values_are_reported(keys: dict[str, object], words: str):
    with pytest.raises(CarlError) as caught:
        TrainConfig.from_dict({"output": "a.carl", "pairs": [PAIR], **keys})
    assert words in str(caught.value)


def test_unreadable_file_is_named(tmp_path: Path):
    with pytest.raises(CarlError, match=r"nowhere\.yaml cannot be read as a YAML file"):
        TrainConfig.from_file(tmp_path / "nowhere.yaml")
    (tmp_path / "odd.yaml").write_text("- a\n- b\n")
    with pytest.raises(CarlError, match=r"odd\.yaml: The file is not a table"):
        TrainConfig.from_file(tmp_path / "odd.yaml")


def test_recipes_of_the_documentation_are_valid():
    page = Path(__file__).resolve().parents[4] / "docs" / "heads.md"
    recipes = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(recipes) == 3
    for recipe in recipes:
        config = TrainConfig.from_dict(yaml.safe_load(recipe))
        assert config.pairs or config.geobench
