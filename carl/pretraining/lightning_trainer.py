"""Run Lightning's trainer: batches, callbacks, checkpoints, and errors as messages for users."""

from __future__ import annotations

import json
import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from carl.errors import Cancelled, CarlError, OutputError
from carl.model.checkpoint import read_training_state, write_training_state
from carl.pretraining.datasets import (
    BatchSchedule,
    CropDataset,
    ImageSource,
    PretrainingBatch,
    ScheduledBatches,
    check_batch,
)
from carl.pretraining.lightning_module import PretrainModule
from carl.pretraining.pretrain_config import MonitorConfig, PretrainConfig
from carl.pretraining.pretraining_run import LAST_CHECKPOINT
from carl.pretraining.probing import Monitor
from carl.progress import Progress

HISTORY = "history.jsonl"
"""Name of the file with losses, learning rates and probe scores in the folder of a run."""
_LOST_PROCESSES = {
    "DataLoader worker": "A process that reads crops was killed, as happens when memory runs out "
    "or a file shrinks while it is read: lower 'workers', then continue with --resume.",
    "closed by peer": "Another process of this run has stopped: see its own message for the cause.",
}
"""Parts of PyTorch's messages when a process was killed, and the message for the user."""
_PRECISIONS: dict[str, Any] = {"float32": "32-true", "bf16": "bf16-mixed"}


class PretrainingData(LightningDataModule):
    """Batches of this process, from the current position of the run.

    Args:
        sources: all cameras of all data sets.
        config: configuration of the run.
    """

    def __init__(self, sources: Sequence[ImageSource], config: PretrainConfig) -> None:
        super().__init__()
        self._sources = sources
        self._config = config

    def train_dataloader(self) -> DataLoader[PretrainingBatch | CarlError]:
        """Return a loader of the batches from one checkpoint to the next, at each iteration."""
        assert self.trainer is not None
        config = self._config
        sampler = ScheduledBatches(
            BatchSchedule(
                [len(source.images) for source in self._sources],
                [source.weight for source in self._sources],
                config.batch_size * self.trainer.world_size,
                config.seed,
            ),
            n_batches=config.n_batches,
            per_epoch=config.checkpoint_every * config.accumulate,
            crops_per_process=config.batch_size,
            rank=self.trainer.global_rank,
        )
        # Lightning calls `set_epoch` before every epoch but the first one, which is a later one in
        # a resumed run.
        sampler.set_epoch(self.trainer.global_step // config.checkpoint_every)
        return DataLoader(
            CropDataset(self._sources, config.crop, config.seed, config.target_patch_size),
            batch_size=None,
            sampler=sampler,
            collate_fn=_identity,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def on_before_batch_transfer(
        self, batch: PretrainingBatch | CarlError, dataloader_idx: int
    ) -> PretrainingBatch:
        """Check a batch before it is copied to the device.

        Raises:
            CarlError: its files cannot be read, or hold values that are not finite.
        """
        if isinstance(batch, CarlError):
            raise batch
        check_batch(batch)
        return batch


def fit(
    module: PretrainModule,
    sources: Sequence[ImageSource],
    monitors: Sequence[tuple[MonitorConfig, Monitor]],
    *,
    resume: bool,
    progress: Progress,
) -> bool:
    """Train until the last step.

    Args:
        module: trained in place.
        sources: all cameras of all data sets.
        monitors: labelled images to probe on.
        resume: continue from the last checkpoint.
        progress: called after every step; cancels by raising.

    Returns:
        whether this is the first process of the run.

    Raises:
        CarlError: the data or the loss are not finite, or memory is too small.
        OutputError: the output cannot be written; the last checkpoint is unchanged.
        Cancelled: raised by `progress`, or the process was interrupted.
    """
    config = module.config
    history = HistoryWriter(config.output / HISTORY, config.log_every)
    callbacks = [
        history,
        ProbeCallback(monitors, history),
        ProgressReporter(progress, config.steps),
        CheckpointWriter(config.output),
    ]
    with _errors_for_users(config), _silence_lightning():
        trainer = _build_trainer(config, callbacks)
        trainer.fit(
            module,
            datamodule=PretrainingData(sources, config),
            ckpt_path=config.output / LAST_CHECKPOINT if resume else None,
            weights_only=True,
        )
    return trainer.is_global_zero


class StepCallback(Callback, ABC):
    """Base of callbacks after an optimiser step, which may take several batches."""

    def __init__(self) -> None:
        self._step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the first step of the run."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Call `after_step` if the batch completed a step."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            assert isinstance(pl_module, PretrainModule)
            self.after_step(trainer, pl_module, self._step)

    @abstractmethod
    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Act after a step; `step` counts from 1."""


class ProgressReporter(StepCallback):
    """Report the progress of the run to the caller, who cancels it by raising.

    Args:
        progress: called after every step.
        steps: number of steps of the whole run.
    """

    def __init__(self, progress: Progress, steps: int) -> None:
        super().__init__()
        self._progress = progress
        self._steps = steps

    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Report the step and its loss."""
        loss = float(trainer.callback_metrics["total"])
        self._progress(step / self._steps, f"Step {step} of {self._steps}, loss {loss:.4f}")


class HistoryWriter(StepCallback):
    """Write losses and learning rate as lines of JSON.

    Args:
        path: the file; lines are appended.
        every: steps between two lines.
    """

    def __init__(self, path: Path, every: int) -> None:
        super().__init__()
        self._path = path
        self._every = every

    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Write a line every `every` steps, in the first process."""
        if step % self._every == 0 and trainer.is_global_zero:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.write({"step": step, "learning_rate": rate, **values})

    def write(self, values: dict[str, Any]) -> None:
        """Append a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


class ProbeCallback(StepCallback):
    """Probe the network on labelled images, and log scores and pictures of its features.

    Args:
        monitors: monitors with their configurations.
        history: receives the scores.
    """

    def __init__(
        self, monitors: Sequence[tuple[MonitorConfig, Monitor]], history: HistoryWriter
    ) -> None:
        super().__init__()
        self._monitors = monitors
        self._history = history

    def after_step(self, trainer: Trainer, module: PretrainModule, step: int) -> None:
        """Probe every `MonitorConfig.every` steps, in the first process."""
        due = [pair for pair in self._monitors if step % pair[0].every == 0]
        if not due or not trainer.is_global_zero:
            return
        network = module.network
        was_training = network.training
        network.eval()
        for config, monitor in due:
            result = monitor.measure(network)
            scores = {f"{config.name}/{name}": score for name, score in result.scores.items()}
            self._history.write({"step": step, **scores})
            for logger in trainer.loggers:
                logger.log_metrics(scores, step)
                if result.picture is not None and isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(
                        f"{config.name}/features", result.picture, step, dataformats="HWC"
                    )
        network.train(was_training)


class CheckpointWriter(Checkpoint):
    """Replace the last checkpoint at the end of each epoch.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / LAST_CHECKPOINT

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoint."""
        trainer.save_checkpoint(self._path)


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints atomically: the previous one is replaced when the new one is complete."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint.

        Raises:
            OutputError: it cannot be written, or the disk is full; the previous one is unchanged.
        """
        write_training_state(path, checkpoint)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU.

        Raises:
            ModelError: it is damaged, or contains more than plain data.
        """
        return read_training_state(path)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _build_trainer(config: PretrainConfig, callbacks: list[Callback]) -> Trainer:
    parallel = config.devices * config.nodes > 1
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=DDPStrategy() if parallel else "auto",
        precision=_PRECISIONS[config.precision],
        # An epoch lasts from one checkpoint to the next. The end is not given as `max_steps`,
        # because Lightning then resumes in the middle of an epoch.
        max_epochs=math.ceil(config.steps / config.checkpoint_every),
        accumulate_grad_batches=config.accumulate,
        logger=TensorBoardLogger(config.output, name="tensorboard", version=""),
        log_every_n_steps=config.log_every,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=config.output,
    )


@contextmanager
def _errors_for_users(config: PretrainConfig) -> Iterator[None]:
    """Convert errors of PyTorch, Lightning and the system to messages for the user."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CarlError(
            "There is not enough memory on the device: lower batch_size (and raise accumulate), "
            "or crop."
        ) from error
    except RuntimeError as error:
        for part, message in _LOST_PROCESSES.items():
            if part in str(error):
                raise CarlError(message) from error
        raise
    except OSError as error:
        raise OutputError(
            f"{config.output} cannot be written ({error.strerror or error}): free some space, then "
            "continue with --resume."
        ) from error
    except SystemExit as error:  # Lightning's response to Ctrl+C and to signals
        raise Cancelled(
            "The run was interrupted: continue from its last checkpoint with --resume."
        ) from error


@contextmanager
def _silence_lightning() -> Iterator[None]:
    """Suppress Lightning's log messages below errors."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _identity(batch: Any) -> Any:
    return batch
