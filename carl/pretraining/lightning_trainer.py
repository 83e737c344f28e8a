"""Run Lightning's trainer: batches, callbacks, checkpoints, and errors as messages for users."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from carl.errors import Cancelled, CarlError, OutputError
from carl.files import atomic_write
from carl.model.carl import CARL
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
from carl.pretraining.pretrain_config import PretrainConfig
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
    """Batches of this process, from the current position of the run."""

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
    monitors: Sequence[Monitor],
    *,
    resume: bool,
    progress: Progress,
) -> bool:
    """Train a module in place until the last step, or continue from its last checkpoint.

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
    with _errors_for_users(config), _silence_lightning():
        trainer = _build_trainer(config, RunRecorder(config, monitors, progress))
        trainer.fit(
            module,
            datamodule=PretrainingData(sources, config),
            ckpt_path=config.output / LAST_CHECKPOINT if resume else None,
            weights_only=True,
        )
    return trainer.is_global_zero


class RunRecorder(Checkpoint):
    """Record a run: history, probe scores and progress after steps, a checkpoint after each epoch.

    History and probe scores are appended to `HISTORY` by the first process, as lines of JSON.
    """

    def __init__(
        self,
        config: PretrainConfig,
        monitors: Sequence[Monitor],
        progress: Progress,
    ) -> None:
        super().__init__()
        self._config = config
        self._monitors = monitors
        self._progress = progress
        self._step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the first step of the run, and remove records of steps that are taken again."""
        self._step = trainer.global_step
        if trainer.is_global_zero:
            _shorten_history(self._config.output / HISTORY, self._step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record a step, which may take several batches, when its last batch is done."""
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        if trainer.is_global_zero:
            if step % self._config.log_every == 0:
                values = {name: float(value) for name, value in trainer.callback_metrics.items()}
                rate = trainer.optimizers[0].param_groups[0]["lr"]
                self._write_history({"step": step, "learning_rate": rate, **values})
            assert isinstance(pl_module, PretrainModule)
            self._probe(trainer, pl_module.network, step)
        loss, n_steps = float(trainer.callback_metrics["total"]), self._config.steps
        self._progress(step / n_steps, f"Step {step} of {n_steps}, loss {loss:.4f}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the last checkpoint."""
        trainer.save_checkpoint(self._config.output / LAST_CHECKPOINT)

    def _probe(self, trainer: Trainer, network: CARL, step: int) -> None:
        """Probe on the images due at a step; log scores and pictures of the features."""
        due = [each for each in self._monitors if step % each.config.every == 0]
        if not due:
            return
        was_training = network.training
        network.eval()
        for monitor in due:
            result, label = monitor.measure(network), monitor.config.name
            scores = {f"{label}/{name}": score for name, score in result.scores.items()}
            self._write_history({"step": step, **scores})
            for logger in trainer.loggers:
                logger.log_metrics(scores, step)
                if result.picture is not None and isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(
                        f"{label}/features", result.picture, step, dataformats="HWC"
                    )
        network.train(was_training)

    def _write_history(self, values: dict[str, Any]) -> None:
        with (self._config.output / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints atomically: the previous one is replaced when the new one is complete."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint; see `write_training_state`."""
        write_training_state(path, checkpoint)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU; see `read_training_state`."""
        return read_training_state(path)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def _shorten_history(path: Path, n_steps: int) -> None:
    """Keep the lines of the first `n_steps` steps, up to one that a killed run did not complete."""
    if not path.is_file():
        return
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] > n_steps:
                continue
        except (ValueError, KeyError, TypeError):
            break
        lines.append(line)
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _build_trainer(config: PretrainConfig, recorder: RunRecorder) -> Trainer:
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
        callbacks=[recorder],
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
        has_checkpoint = (config.output / LAST_CHECKPOINT).is_file()
        raise Cancelled(
            "The run was interrupted: continue from its last checkpoint with --resume."
            if has_checkpoint
            else "The run was interrupted before its first checkpoint: start it again."
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
