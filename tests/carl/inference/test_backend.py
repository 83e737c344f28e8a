from __future__ import annotations

import numpy as np
import pytest
import torch

from carl.inference.backend import PlainBackend, full_budget, has_fast_bf16
from carl.model import CARL

WAVELENGTHS_UM = torch.linspace(0.4, 0.9, 6)


def test_plain_backend_is_the_forward_pass_of_the_model(tiny_model: CARL) -> None:
    size, grid = tiny_model.patch_size, (2, 3)
    image = torch.randn(1, 6, size * grid[0], size * grid[1])
    with torch.inference_mode():
        expected = tiny_model(image, WAVELENGTHS_UM[None])
    patches = image[0].unflatten(2, (grid[1], size)).unflatten(1, (grid[0], size))
    strip = patches.permute(0, 2, 1, 3, 4).reshape(6, size, -1)
    plain = PlainBackend(tiny_model)
    spectral = plain.encode_spectral(strip, WAVELENGTHS_UM, budget=full_budget(tiny_model))
    spectral = spectral.T.reshape(1, -1, *grid)
    torch.testing.assert_close(spectral, expected.spectral, atol=1e-5, rtol=1e-5)
    spatial = plain.encode_spatial(spectral)
    torch.testing.assert_close(spatial, expected.spatial, atol=1e-5, rtol=1e-5)


def test_plain_backend_computes_in_bf16(tiny_model: CARL) -> None:
    strip = torch.randn(6, tiny_model.patch_size, tiny_model.patch_size * 5)
    plain = PlainBackend(tiny_model)
    exact = plain.encode_spectral(strip, WAVELENGTHS_UM)
    rounded = plain.encode_spectral(strip, WAVELENGTHS_UM, "bf16")
    assert rounded.dtype == torch.float32
    assert 0 < np.abs((rounded - exact).numpy()).max() < 0.1


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("avx", [True, False])
def test_bf16_is_fast_on_a_cpu_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    assert has_fast_bf16(torch.device("cpu")) == (amx or avx)


def test_bf16_is_taken_as_slow_on_other_devices() -> None:
    assert not has_fast_bf16(torch.device("mps"))
