from __future__ import annotations

import pytest
import torch

from carl.inference.precision import has_fast_bf16


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("avx", [True, False])
def test_the_processor_is_asked(monkeypatch: pytest.MonkeyPatch, amx: bool, avx: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    assert has_fast_bf16(torch.device("cpu")) == (amx or avx)


def test_devices_nobody_vouches_for_are_taken_to_be_slow() -> None:
    assert not has_fast_bf16(torch.device("mps"))
