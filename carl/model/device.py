"""Where the network runs, and what to call it."""

from __future__ import annotations

import os

import torch

from carl.errors import ModelError


def resolve_device(name: str = "auto") -> torch.device:
    """The device of that name.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, ... or ``"auto"`` for the fastest
            there is.

    Raises:
        ModelError: the name means nothing, or this machine has no such device.
    """
    if name == "auto":
        return _fastest()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"'{name}' is not a device: choose auto, cpu, cuda or mps.") from error
    if not _is_there(device):
        raise ModelError(f"This machine has no device '{name}': choose auto or cpu.")
    return device


def device_label(device: torch.device) -> str:
    """A device in words for the user, as "NVIDIA H200" or "CPU (2 cores)"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    if device.type == "cpu":
        cores = _cpu_cores()
        return f"CPU ({cores} core{'s' if cores > 1 else ''})"
    return str(device)


def _fastest() -> torch.device:
    for name in ("cuda", "mps"):
        device = torch.device(name)
        if _is_there(device):
            return device
    return torch.device("cpu")


def _is_there(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return False


def _cpu_cores() -> int:
    """Cores this process may use, which on a shared machine are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
