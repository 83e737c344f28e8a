"""Where a run of training stands, on disk: whole or not at all, and read without running any code.

A run that is killed goes on from the last state that it wrote.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from carl.errors import ModelError
from carl.files import atomic_write


def write_run_state(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Put a state in the place of the one before, once all of it is on the disk.

    Args:
        path: of the file.
        state: tensors and plain values, in tables and lists.

    Raises:
        OutputError: it cannot be written, or the disk is full; what was there stays.
    """
    # By way of memory: torch tells that a disk is full in words of its own.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def read_run_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `write_run_state` wrote; its tensors are on the CPU.

    Raises:
        ModelError: it is missing or damaged, or holds more than plain data.
    """
    try:
        state = torch.load(Path(path), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"{path} cannot be read as a checkpoint of a run: it is missing, damaged or of another "
            "kind; start the run again without --resume, with another 'output'."
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} is not a checkpoint of a run: give another 'output'.")
    return state
