"""Checkpoints of a run as Lightning writes and reads them; see `carl.model.checkpoint`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO

from carl.model.checkpoint import read_training_state, write_training_state


class AtomicCheckpointIO(CheckpointIO):
    """A checkpoint takes the place of the one before only when all of it is on the disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: it cannot be written, or the disk is full; what was there stays.
        """
        write_training_state(path, checkpoint)

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
        return read_training_state(path)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
