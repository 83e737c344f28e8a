from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from carl.model import build_model, list_models, named_models, save_model
from carl.model.named_models import DEFAULT_MODEL, NAMED_MODELS, weights_path


def test_list_describes_the_networks() -> None:
    for info in list_models():
        model = build_model(info.name)
        assert info.parameters == sum(p.numel() for p in model.parameters())
        assert info.description
        assert info.trained == weights_path(info.name).is_file()
    assert [info.name for info in list_models() if info.default] == [DEFAULT_MODEL]


def test_default_model_has_at_most_three_million_parameters() -> None:
    nano = next(info for info in list_models() if info.default)
    assert nano.name == "carl-nano"
    assert nano.parameters <= 3_000_000


def test_untrained_default_model_distinguishes_patches_even_in_bf16() -> None:
    model = build_model("carl-nano").eval()
    image, wavelengths = torch.randn(1, 16, 32, 32), torch.linspace(0.4, 0.9, 16)
    with torch.inference_mode():
        exact = model.spectral_features(image, wavelengths).flatten(2)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model.spectral_features(image, wavelengths).flatten(2).float()
    centred = [features - features.mean(dim=2, keepdim=True) for features in (exact, mixed)]
    assert float(centred[0].std() / exact.std()) > 0.01
    assert float(torch.cosine_similarity(*centred, dim=1).min()) > 0.95


def test_small_and_base_have_the_sizes_of_the_paper() -> None:
    small, base = (NAMED_MODELS[n].config for n in ("carl-small", "carl-base"))
    assert small.spec_encoder_kwargs.embed_dim == 384
    assert base.spec_encoder_kwargs.embed_dim == 768
    for config in (small, base):
        assert config.spat_encoder_kwargs.depth == 8
        assert "eva02_base" in config.spat_encoder_kwargs.model_name
        assert config.spec_encoder_kwargs.pos_enc_sigma == 3


def test_list_reports_installed_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(named_models, "resource_path", lambda *parts: tmp_path.joinpath(*parts))
    assert not any(info.trained for info in list_models())
    save_model(build_model("carl-nano"), weights_path("carl-nano"))
    assert [info.name for info in list_models() if info.trained] == ["carl-nano"]


def test_repr_of_model_info_is_readable() -> None:
    info = next(info for info in list_models() if info.name == "carl-small-satellite")
    assert repr(info) == (
        "<ModelInfo carl-small-satellite (71.5 M parameters, to be downloaded): "
        "carl-small with its authors' weights, self-supervised on satellite images>"
    )


def test_listing_models_does_not_import_torch() -> None:
    code = (
        "import sys; from carl.model import list_models; list_models(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
