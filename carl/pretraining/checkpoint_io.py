"""Checkpoints of a run on disk: whole or not at all, and read without running any code."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from carl.errors import ModelError
from carl.files import atomic_write


class AtomicCheckpointIO(CheckpointIO):
    """A checkpoint takes the place of the one before only when all of it is on the disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: it cannot be written, or the disk is full; what was there stays.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, whose tensors stay on the CPU.

        Raises:
            ModelError: it is damaged, or holds more than plain data.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise ModelError(
                f"{path} cannot be read as a checkpoint of a run: it is missing, damaged or of "
                "another kind; start the run again without --resume, in another folder."
            ) from error
        if not isinstance(content, dict):
            raise ModelError(f"{path} is not a checkpoint of a run: give another 'output'.")
        return content

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
