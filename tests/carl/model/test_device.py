from __future__ import annotations

import os

import pytest
import torch

from carl.errors import ModelError
from carl.model import device_label, resolve_device


def test_cpu_label_contains_the_number_of_cores() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert device_label(torch.device("cpu")).startswith("CPU (")


def test_cpu_label_uses_the_singular_for_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert device_label(torch.device("cpu")) == "CPU (1 core)"


def test_auto_selects_cuda_if_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert device_label(resolve_device("cuda")) == "NVIDIA H200"
    with pytest.raises(ModelError, match="cuda:2"):
        resolve_device("cuda:2")


def test_auto_falls_back_to_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "xpu", "meta"])
def test_invalid_or_missing_devices_raise(name: str) -> None:
    with pytest.raises(ModelError, match="device"):
        resolve_device(name)
