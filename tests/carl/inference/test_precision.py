from __future__ import annotations

import pytest
import torch

from carl.errors import ModelError
from carl.inference.precision import choose_precision, has_fast_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["float32", "bf16"])
def test_a_wish_is_respected(name: str) -> None:
    assert choose_precision(name, CPU) == name


def test_automatic_is_bf16_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose_precision("auto", CPU) == "float32"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert choose_precision("auto", CPU) == "bf16"
    assert not has_fast_bf16(torch.device("mps"))


def test_an_unknown_precision() -> None:
    with pytest.raises(ModelError, match="choose auto, float32 or bf16"):
        choose_precision("half", CPU)
