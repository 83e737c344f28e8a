"""Selection of the PyTorch device, and its name for messages."""

from __future__ import annotations

import os

import torch

from carl.errors import ModelError


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, or ``"auto"`` for the fastest
            available device.

    Raises:
        ModelError: the name is invalid, or this machine has no such device.
    """
    if name == "auto":
        candidates = (torch.device(kind) for kind in ("cuda", "mps", "cpu"))
        return next(device for device in candidates if _is_available(device))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(
            f"'{name}' is not a valid device: choose auto, cpu, cuda or mps."
        ) from error
    if not _is_available(device):
        raise ModelError(f"This machine has no device '{name}': choose auto or cpu.")
    return device


def device_label(device: torch.device) -> str:
    """Return a readable device name such as "NVIDIA H200" or "CPU (2 cores)"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    if device.type == "cpu":
        cores = _available_cores()
        return f"CPU ({cores} core{'s' if cores > 1 else ''})"
    return str(device)


def _is_available(device: torch.device) -> bool:
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return False


def _available_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
