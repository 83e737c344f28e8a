"""Lightning's trainer, set up for a run: devices, precision, batches, and what fails in words."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from carl.errors import Cancelled, CarlError, OutputError
from carl.pretraining.callbacks import (
    HISTORY,
    LAST_CHECKPOINT,
    CheckpointWriter,
    History,
    Probing,
    ProgressReporter,
)
from carl.pretraining.checkpoint_io import AtomicCheckpointIO
from carl.pretraining.datasets import Batch, Crops, MixedBatches, Mixture, Source, check_batch
from carl.pretraining.lightning_module import PretrainModule
from carl.pretraining.monitors import Monitor
from carl.pretraining.pretrain_config import MonitorConfig, PretrainConfig
from carl.progress import Progress

_LOST_PROCESSES = {
    "DataLoader worker": "A process that reads crops has died, as it does when memory runs out or "
    "a file shrinks while it is read: lower 'workers', then go on with --resume.",
    "closed by peer": "Another process of this run has stopped: its own message tells why.",
}
"""Signs in the messages of PyTorch that a process has died, and what to say."""
_PRECISIONS: dict[str, Any] = {"float32": "32-true", "bf16": "bf16-mixed"}


class Batches(LightningDataModule):
    """The batches of this process, from where the run stands.

    Args:
        sources: all cameras of all sets.
        config: of the run.
    """

    def __init__(self, sources: Sequence[Source], config: PretrainConfig) -> None:
        super().__init__()
        self._sources = sources
        self._config = config

    def train_dataloader(self) -> DataLoader[Batch | CarlError]:
        """Batches up to the next checkpoint, and after each those of the next part."""
        assert self.trainer is not None
        config = self._config
        sampler = MixedBatches(
            Mixture(
                [len(source.images) for source in self._sources],
                [source.weight for source in self._sources],
                config.batch_size * self.trainer.world_size,
                config.seed,
            ),
            n_batches=config.n_batches,
            part=config.checkpoint_every * config.accumulate,
            share=config.batch_size,
            rank=self.trainer.global_rank,
        )
        # Lightning tells the sampler where it stands before every part but the first one, which
        # comes later in a run that is resumed.
        sampler.set_epoch(self.trainer.global_step // config.checkpoint_every)
        return DataLoader(
            Crops(self._sources, config.crop, config.seed, config.described_patch),
            batch_size=None,
            sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def on_before_batch_transfer(self, batch: Batch | CarlError, dataloader_idx: int) -> Batch:
        """See that a batch can be learned from, before it leaves the CPU.

        Raises:
            CarlError: its files cannot be read, or hold values that are not numbers.
        """
        if isinstance(batch, CarlError):
            raise batch
        check_batch(batch)
        return batch


def fit(
    module: PretrainModule,
    sources: Sequence[Source],
    monitors: Sequence[tuple[MonitorConfig, Monitor]],
    *,
    resume: bool,
    progress: Progress,
) -> bool:
    """Train until the last step.

    Args:
        module: to train, in place.
        sources: all cameras of all sets.
        monitors: labelled images to probe on.
        resume: go on from the last checkpoint.
        progress: told after every step; cancels by raising.

    Returns:
        whether this is the process that speaks for all.

    Raises:
        CarlError: the data or the loss are not numbers, or memory is too small.
        OutputError: nothing can be written any more; the last checkpoint stays as it is.
        Cancelled: by `progress`, or by the system.
    """
    config = module.config
    history = History(config.output / HISTORY, config.log_every)
    callbacks = [
        history,
        Probing(monitors, history),
        ProgressReporter(progress, config.steps),
        CheckpointWriter(config.output),
    ]
    with _in_words(config), _quiet():
        trainer = _trainer(config, callbacks)
        trainer.fit(
            module,
            datamodule=Batches(sources, config),
            ckpt_path=config.output / LAST_CHECKPOINT if resume else None,
            weights_only=True,
        )
    return trainer.is_global_zero


def _trainer(config: PretrainConfig, callbacks: list[Callback]) -> Trainer:
    parallel = config.devices * config.nodes > 1
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=DDPStrategy() if parallel else "auto",
        precision=_PRECISIONS[config.precision],
        # An epoch lasts from one checkpoint to the next. The end is not given as `max_steps`: with
        # it, Lightning resumes as if from the middle of an epoch.
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
def _in_words(config: PretrainConfig) -> Iterator[None]:
    """What fails while a run is under way, as a sentence for its user."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise CarlError(
            "There is not enough memory on the device: lower batch_size (and raise accumulate), "
            "or crop."
        ) from error
    except RuntimeError as error:
        for sign, meaning in _LOST_PROCESSES.items():
            if sign in str(error):
                raise CarlError(meaning) from error
        raise
    except OSError as error:
        raise OutputError(
            f"{config.output} cannot be written ({error.strerror or error}): free some space, then "
            "go on with --resume."
        ) from error
    except SystemExit as error:  # Lightning's answer to Ctrl+C and to a signal
        raise Cancelled("The run was stopped: go on from its last checkpoint with --resume.") from (
            error
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from announcing what it does."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _as_it_is(batch: Any) -> Any:
    return batch
