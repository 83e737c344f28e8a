from __future__ import annotations

import gc
import weakref
from copy import deepcopy

import pytest
import torch

from carl.inference.backend import ComputeBudget, NumberFormat, PlainBackend
from carl.inference.fast import FastBackend
from carl.inference.fast import backend as fast_backend
from carl.model import CARL

WAVELENGTHS_UM = torch.linspace(0.4, 0.9, 5)


def strip(model: CARL, n_patches: int = 9) -> torch.Tensor:
    size = model.patch_size
    return torch.randn(5, size, n_patches * size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("budget", [None, ComputeBudget(1, 2)])
@pytest.mark.parametrize(("number_format", "tolerance"), [("float32", 1e-5), ("bf16", 0.1)])
def test_spectral_features_are_those_of_the_plain_backend(
    tiny_model: CARL, number_format: NumberFormat, tolerance: float, budget: ComputeBudget | None
) -> None:
    fast, plain = (
        each.encode_spectral(strip(tiny_model), WAVELENGTHS_UM, form, budget)
        for each, form in (
            (FastBackend(tiny_model), number_format),
            (PlainBackend(tiny_model), "float32"),
        )
    )
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, plain, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(("number_format", "tolerance"), [("float32", 1e-5), ("bf16", 0.1)])
def test_spatial_features_are_those_of_the_plain_backend(
    tiny_model: CARL, number_format: NumberFormat, tolerance: float
) -> None:
    features = torch.randn(1, tiny_model.embed_dim, 5, 7)
    fast = FastBackend(tiny_model).encode_spatial(features, number_format)
    plain = PlainBackend(tiny_model).encode_spatial(features)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, plain, atol=tolerance, rtol=tolerance)
    assert any(type(layer) is torch.nn.Linear for layer in tiny_model.spatial_encoder.modules())


def test_prepared_halves_are_reused_until_the_weights_change(
    tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.dtype] = []
    encoder = fast_backend.FoldedSpectralEncoder

    def counted(model: CARL, dtype: torch.dtype) -> torch.nn.Module:
        made.append(dtype)
        return encoder(model, dtype)

    monkeypatch.setattr(fast_backend, "FoldedSpectralEncoder", counted)
    pixels = strip(tiny_model)
    before = FastBackend(tiny_model).encode_spectral(pixels, WAVELENGTHS_UM)
    FastBackend(tiny_model).encode_spectral(pixels, WAVELENGTHS_UM)
    assert made == [torch.float32]
    FastBackend(tiny_model).encode_spectral(pixels, WAVELENGTHS_UM, "bf16")
    assert made == [torch.float32, torch.bfloat16]
    with torch.no_grad():
        tiny_model.connector.bias += 1
    changed = FastBackend(tiny_model).encode_spectral(pixels, WAVELENGTHS_UM)
    assert len(made) == 3
    torch.testing.assert_close(changed, before + 1)


def test_prepared_halves_are_removed_with_their_model(tiny_model: CARL) -> None:
    model = deepcopy(tiny_model)
    n_before = fast_backend._prepared.total_size
    FastBackend(model).encode_spectral(strip(model), WAVELENGTHS_UM)
    assert fast_backend._prepared.total_size == n_before + 1
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
    assert fast_backend._prepared.total_size == n_before
